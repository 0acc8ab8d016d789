"""F29: a policy file that is hostile, damaged, or another robot's: refused with the reason; nothing in it ever runs."""

import json
import pickle
import time
import zipfile

import policy_files as files
import pytest
from autofocus_core import results
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import read_manifest
from autofocus_core.names import MANIFEST_FILE
from policy_cell import FakeCell, change_state, policy_argv

COMMAND = "pytest tests/faults/test_f29_hostile_policy_file.py"
ROBOT = files.SIM_ROBOT


class Canary:
    """Unpickling one writes a file: it must never happen."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def rewritten(good, bad, change):
    """The archive `good` as `bad`, each entry through change(name, content) -> content or None; checksums are right."""
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as out:
        for name in source.namelist():
            content = change(name, source.read(name))
            if content is not None:
                out.writestr(name, content)
    return bad


def with_manifest(good, bad, text):
    return rewritten(good, bad, lambda name, content: text if name.endswith(MANIFEST_FILE) else content)


def manifest(**changes) -> dict:
    return json.loads(files.manifest_for(ROBOT).to_json()) | changes


def hostile_files(folder, canary):
    """{name: (file, words of the refusal)}"""
    good = files.write_policy(folder / "good.pt")
    poison = pickle.dumps(Canary(canary))
    raw = folder / "pickle.pt"
    raw.write_bytes(poison)
    checkpoint = folder / "checkpoint.pt"
    with zipfile.ZipFile(checkpoint, "w") as out:
        out.writestr("c/data.pkl", poison)
        out.writestr("c/version", "3")
    inside = rewritten(good, folder / "inside.pt",
                       lambda name, content: poison if name.endswith(("data.pkl", "constants.pkl")) else content)
    flipped = bytearray(good.read_bytes())
    at = flipped.index(b"def forward") if b"def forward" in flipped else len(flipped) // 2
    flipped[at] ^= 1
    damaged = folder / "damaged.pt"
    damaged.write_bytes(flipped)
    lacking = manifest()
    del lacking["units"]
    deep = '{"config": ' + "[" * 200_000 + "]" * 200_000 + "}"
    bomb = folder / "bomb.pt"
    rewritten(good, bomb, lambda name, content: content)
    with (zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as out,
          out.open(f"{out.namelist()[0].split('/')[0]}/data/99", "w", force_zip64=True) as entry):
        for _ in range(16):
            entry.write(bytes(16 * 1024 * 1024))
    return {
        "a pickle": (raw, "not a readable zip"),
        "a checkpoint": (checkpoint, "pickled checkpoint"),
        "pickles in TorchScript": (inside, "jit refuses"),
        "a wrong checksum": (damaged, ""),
        "a missing key": (with_manifest(good, folder / "key.pt", json.dumps(lacking)), "missing ['units']"),
        "other joints": (files.write_policy(folder / "joints.pt", manifest=files.manifest_for(
            ROBOT, joints=tuple(reversed(ROBOT.joint_names)))), "joints in order"),
        "another camera": (with_manifest(good, folder / "camera.pt", json.dumps(manifest(
            cameras=[{"name": "camera", "width_px": 10**12, "height_px": 10**12}]))), "1000000000000"),
        "a deep manifest": (with_manifest(good, folder / "deep.pt", deep), "not JSON"),
        "a number of 10 000 digits": (with_manifest(good, folder / "digits.pt", json.dumps(manifest()).replace(
            '"horizon": 8', '"horizon": ' + "9" * 10_000)), "not JSON"),
        "a manifest of 20 MB": (with_manifest(good, folder / "huge.pt", json.dumps(manifest(
            code_version="x" * 20_000_000))), "a manifest of 20"),
        "a zip bomb": (bomb, "that unpack to"),
    }


def test_f29_a_hostile_file_is_refused_and_its_canary_never_runs(ros_node, spawn, tmp_path, wait_until):
    cell, policy, canary = FakeCell(ros_node), tmp_path / "policy.pt", tmp_path / "canary"
    bad = hostile_files(tmp_path, canary)
    process = spawn(policy_argv(policy, autostart="false"))
    slowest_s = 0.0
    for name, (path, words) in bad.items():
        policy.unlink(missing_ok=True)
        policy.hardlink_to(path)
        before, began_s = len(process.output_path.read_text()), time.monotonic()
        assert not change_state(ros_node, wait_until, "configure"), name
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        said = process.output_path.read_text()[before:]
        assert words in said and "fix:" in said and "Traceback" not in said, (name, said[:3000])
        assert len(said) < 20_000, f"{name}: a refusal that nobody can read"
    assert process.poll() is None and not cell.requests and not cell.beats
    ran = int(canary.exists())
    results.record("faults", f"F29 canaries run, of {len(bad)} hostile or mismatched files", ran, "runs", "0", ran == 0,
                   COMMAND)
    results.record("faults", "F29 slowest refusal", round(slowest_s, 2), "s", "<= 10", slowest_s <= 10.0, COMMAND)
    assert ran == 0


def test_f29_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """A checksum of every entry would have unpacked it: 256 MiB from one here, as much as one likes elsewhere."""
    bomb, words = hostile_files(tmp_path, tmp_path / "canary")["a zip bomb"]
    began_s = time.process_time()
    with pytest.raises(AutofocusError, match=words):
        read_manifest(bomb)
    assert time.process_time() - began_s < 0.5
