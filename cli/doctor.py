"""`autofocus doctor`: is this machine able to run everything? Each check that fails says how to mend it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autofocus_cli.demo.processes import ProcessGroup, own_domain, ros_environment
from autofocus_core.errors import AutofocusError

#: A full demo writes about 1 GB; a recording session easily tens.
MIN_FREE_BYTES = 3_000_000_000
#: Fast DDS passes messages between processes through /dev/shm.
MIN_SHM_BYTES = 60_000_000
PYTHON_RANGE = ((3, 10), (3, 13))
DISTRIBUTIONS = (
    "numpy", "scipy", "opencv-python-headless", "torch", "mujoco", "rosbags", "rosbags-image", "mcap", "rclpy",
    "sensor_msgs", "std_srvs", "trajectory_msgs", "diagnostic_msgs", "visualization_msgs", "lifecycle_msgs", "rich",
)
RENDER_TEST = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 3"/><geom type="box" size=".5 .5 .5" rgba="1 0 0 1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 60, 80)
renderer.update_scene(data)
image = renderer.render()
assert image[..., 0].max() > 50, "the picture is black"
print(f"80x60 picture, brightest red {image[..., 0].max()}")
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `fix` is empty when it is well."""

    check: str
    ok: bool
    found: str
    fix: str = ""


def check_python() -> Finding:
    """Python's version lies where the pinned wheels exist."""
    low, high = PYTHON_RANGE
    ok = low <= sys.version_info[:2] <= high
    allowed = f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
    return Finding("python", ok, sys.version.split()[0], "" if ok else f"use Python {allowed}")


def check_versions() -> Finding:
    """Every requirement is installed; versions are shown."""
    found, missing = [], []
    for name in DISTRIBUTIONS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    text = ", ".join(found) + (f"; missing: {', '.join(missing)}" if missing else "")
    # A ROS 2 installation brings rclpy and the messages by PYTHONPATH, without pip's metadata.
    fix = "run `make setup`, or source your ROS 2 installation for the ROS packages" if missing else ""
    return Finding("packages", not missing, text, fix)


def check_dds() -> Finding:
    """Ten messages go from one new process to another over real DDS, and back as an acknowledgement."""
    with tempfile.TemporaryDirectory(prefix="autofocus_doctor_") as folder:
        log_dir = Path(folder)
        events: list[dict] = []
        try:
            with own_domain() as domain_id, ProcessGroup(log_dir, ros_environment(domain_id, log_dir)) as group:
                group.spawn("echo", ["python", "-m", "autofocus_cli.doctor_node", "echo"])
                ping = group.spawn("ping", ["python", "-m", "autofocus_cli.doctor_node", "ping"], events.append)
                group.wait(ping, timeout_s=30.0)
        except AutofocusError as error:
            return Finding("DDS round trip", False, error.got,
                           "allow UDP on the loopback interface and access to /dev/shm; in a container give it "
                           "--ipc=host or --shm-size=256m; unset ROS_DISCOVERY_SERVER and "
                           "FASTRTPS_DEFAULT_PROFILES_FILE")
    median_ms = events[-1]["median_ms"]
    return Finding("DDS round trip", True, f"10 of 10 messages there and back, median {median_ms:.2f} ms, "
                                           f"{events[-1]['rmw']}")


def check_render() -> Finding:
    """MuJoCo draws a picture without a display, in a process of its own (a broken driver may crash)."""
    env = {**os.environ, "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")}
    done = subprocess.run([sys.executable, "-c", RENDER_TEST], capture_output=True, text=True, env=env, timeout=120)
    if done.returncode == 0:
        return Finding("render", True, f"{env['MUJOCO_GL']}: {done.stdout.strip()}")
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding("render", False, f"{env['MUJOCO_GL']}: exit {done.returncode}, {last}",
                   "apt-get install -y libegl1 libgl1-mesa-dri libgles2 (software rendering), or set MUJOCO_GL=osmesa")


def check_disk(folder: Path | None = None, min_bytes: int = MIN_FREE_BYTES) -> Finding:
    """Enough room where the runs are written."""
    folder = folder or Path.cwd()
    free = shutil.disk_usage(folder).free
    ok = free >= min_bytes
    return Finding("disk", ok, f"{free / 1e9:.1f} GB free in {folder}",
                   "" if ok else f"free at least {min_bytes / 1e9:.1f} GB or work in another folder")


def check_shared_memory(folder: Path = Path("/dev/shm"), min_bytes: int = MIN_SHM_BYTES) -> Finding:
    """Room for Fast DDS's shared-memory segments."""
    if not folder.is_dir():
        return Finding("shared memory", True, f"no {folder}: DDS uses UDP instead")
    free = shutil.disk_usage(folder).free
    ok = free >= min_bytes
    return Finding("shared memory", ok, f"{free / 1e6:.0f} MB free in {folder}",
                   "" if ok else "end old ROS processes and remove /dev/shm/fastrtps_*, or give the container "
                                 "--shm-size=256m")


def check_cores() -> Finding:
    """Figures in the README are from two cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("processors", cores >= 2, f"{cores}, load {os.getloadavg()[0]:.1f}",
                   "" if cores >= 2 else "with one core the demo runs, but late commands make the guard hold")


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python, check_versions, check_cores, check_disk, check_shared_memory, check_render, check_dds,
)


def main(argv: list[str]) -> int:
    """Run every check and print what it found; 1 when one failed."""
    parser = argparse.ArgumentParser(prog="autofocus doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    args = parser.parse_args(argv)
    findings = []
    for check in CHECKS:
        finding = check()
        findings.append(finding)
        if not args.json:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check:<16} {finding.found}", flush=True)
            if finding.fix:
                print(f"      {'':<16} fix: {finding.fix}", flush=True)
    if args.json:
        keys = ("check", "ok", "found", "fix")
        print(json.dumps([{key: getattr(finding, key) for key in keys} for finding in findings], indent=1))
    return 0 if all(finding.ok for finding in findings) else 1
