"""Runs loading.py by this interpreter, or by one that has LeRobot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import autofocus_core
import autofocus_training
from autofocus_core.errors import AutofocusError

SCRIPT = Path(__file__).with_name("loading.py")
ASK = "import pathlib, av; print(pathlib.Path(av.__file__).parents[1] / 'av.libs')"


def loading(what: dict[str, Any]) -> dict[str, Any]:
    """Ours; see loading.py."""
    return _run(Path(sys.executable), what, os.environ.copy())


def lerobot_loading(python: Path, what: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """LeRobot's, with the network of this project beside it: `scratch` gets links to the two packages and, for
    torchcodec on a machine without FFmpeg, to the one that PyAV brings. Raises AutofocusError where that fails."""
    scratch.mkdir(parents=True, exist_ok=True)
    for package in (autofocus_core, autofocus_training):
        _link(scratch / package.__name__, Path(package.__file__).parent)
    found = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=False)
    libraries = Path(found.stdout.strip() or "/nowhere")
    for file in libraries.glob("lib*.so.*"):  # libavcodec-7ee0753d.so.61.19.101 is what asks for libavcodec.so.61
        name, _, version = file.name.partition(".so.")
        _link(scratch / f"{name.split('-')[0]}.so.{version.split('.')[0]}", file)
    env = os.environ | {"PYTHONPATH": str(scratch), "LD_LIBRARY_PATH": f"{scratch}:{libraries}"}
    return _run(python, what, env)


def _link(path: Path, target: Path) -> None:
    if not path.is_symlink():
        path.symlink_to(target)


def _run(python: Path, what: dict[str, Any], env: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [python, SCRIPT, json.dumps(what)], capture_output=True, text=True, check=False, env=env, timeout=300
    )
    if done.returncode:
        where, fix = f"{what['way']} in {python}", "pip install lerobot==0.4.4"
        raise AutofocusError(where, done.stderr[-1500:], "a loader that runs", fix)
    return json.loads(done.stdout.splitlines()[-1])
