"""The manifest of a policy file: round trip, refusals, and the list of differences against a robot."""

import contextlib
import dataclasses
import io
import json
import pickle
import random
import subprocess
import sys
import zipfile

import pytest
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import Manifest, ManifestCamera, parse_manifest, read_manifest
from autofocus_core.names import MANIFEST_FILE

MANIFEST = Manifest(
    robot_name="arm", robot_hash="abc", joints=("waist", "gripper"), units=("rad", "m"),
    cameras=(ManifestCamera("camera", 320, 240),), image_size=(96, 128), control_rate_hz=10.0, horizon=8, dt_s=0.1,
    objects=("red cube",), method="gated", config={"steps": 700}, normalisation={"mean": [0.0, 1.5]},
    dataset_hash="d", code_version="v", created="2026-01-01T00:00:00Z")


def archive(entries: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in entries.items():
            z.writestr(name, content)
    return out.getvalue()


def torchscript_like(manifest: str | None) -> bytes:
    """The entries by which a TorchScript archive is recognised; torch.jit could not load it."""
    entries = {"p/data.pkl": b"x", "p/code/__torch__.py": "", "p/constants.pkl": b"x" * 1000, "p/version": "3\n"}
    return archive(entries | ({f"p/extra/{MANIFEST_FILE}": manifest} if manifest is not None else {}))


def test_round_trip(tmp_path):
    path = tmp_path / "policy.pt"
    path.write_bytes(torchscript_like(MANIFEST.to_json()))
    assert read_manifest(path) == MANIFEST


def test_reading_needs_neither_torch_nor_rclpy():
    code = ("import sys, autofocus_core.manifest\n"
            "sys.exit(any(m in sys.modules for m in ('torch', 'rclpy', 'numpy')))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("change", "words"), [
    ({"horizon": 0}, "horizon"),
    ({"horizon": True}, "horizon"),
    ({"dt_s": float("nan")}, "dt_s"),
    ({"units": ["rad", "deg"]}, "units"),
    ({"units": ["rad"]}, "units"),
    ({"joints": ["waist", "waist"]}, "none twice"),
    ({"cameras": []}, "cameras"),
    ({"cameras": [{"name": "c", "width_px": 1}]}, "height_px"),
    ({"image_size": [96]}, "image_size"),
    ({"format": 2}, "format"),
    ({"kind": "checkpoint"}, "kind"),
    ({"surprise": 1}, "unknown ['surprise']"),
    ({"method": 3}, "method"),
    ({"objects": "red cube"}, "objects"),
    ({"config": None}, "config"),
])
def test_a_wrong_value_is_named(change, words):
    with pytest.raises(AutofocusError) as e:
        parse_manifest(json.dumps(json.loads(MANIFEST.to_json()) | change), "here")
    assert words in str(e.value) and "autofocus export" in e.value.fix


@pytest.mark.parametrize("key", [f.name for f in dataclasses.fields(Manifest) if f.name != "state_history"])
def test_a_missing_key_is_named(key):
    raw = json.loads(MANIFEST.to_json())
    del raw[key]
    with pytest.raises(AutofocusError, match=key):
        parse_manifest(json.dumps(raw), "here")


@pytest.mark.parametrize("text", ["", "[]", "{", "3", "\ud800".encode("utf-8", "surrogatepass")])
def test_text_that_is_no_object(text):
    with pytest.raises(AutofocusError):
        parse_manifest(text, "here")


class Canary:
    """Unpickling one writes a file: it must never happen."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "text", "pickle", "checkpoint", "zip", "no manifest",
                                  "cut short", "checksum"])
def test_f29_a_foreign_file_is_refused_unread(kind, tmp_path):
    """Each with a remedy, and the pickle canary never runs."""
    path, canary = tmp_path / "policy.pt", tmp_path / "canary"
    poison = pickle.dumps(Canary(str(canary)))
    good = torchscript_like(MANIFEST.to_json())
    content = {
        "empty": b"", "text": b"hello", "pickle": poison,
        "checkpoint": archive({"c/data.pkl": poison, "c/version": "3"}),
        "zip": archive({"a.txt": "a"}), "no manifest": torchscript_like(None), "cut short": good[:len(good) // 2],
        "checksum": good.replace(b"x" * 1000, b"x" * 999 + b"y")}
    if kind == "directory":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(content[kind])
    with pytest.raises(AutofocusError) as e:
        read_manifest(path)
    assert str(path) in e.value.where and "autofocus export" in e.value.fix
    assert not canary.exists()


def test_flipped_bits_never_change_a_manifest_nor_raise_anything_else(tmp_path):
    """The zip reader raises zlib.error, struct.error, NotImplementedError ... on damaged headers: all become one."""
    good, path, rng = torchscript_like(MANIFEST.to_json()), tmp_path / "policy.pt", random.Random(0)
    for _ in range(1000):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with contextlib.suppress(AutofocusError):
            assert read_manifest(path) == MANIFEST  # a bit of a time stamp, for instance


def test_a_history_of_states_is_written_only_where_there_is_one():
    """Files from before there was a history stay readable, and those that need none can be read by what knew none."""
    assert "state_history" not in json.loads(MANIFEST.to_json())
    assert parse_manifest(MANIFEST.to_json(), "old").state_history == 1
    longer = dataclasses.replace(MANIFEST, state_history=3)
    assert parse_manifest(longer.to_json(), "new") == longer
    with pytest.raises(AutofocusError, match="state_history"):
        parse_manifest(json.dumps(json.loads(MANIFEST.to_json()) | {"state_history": 0}), "wrong")
