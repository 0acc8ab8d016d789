"""The manifest inside a policy file: what the policy expects of a robot, read without running or unpickling anything.

A policy file is a TorchScript archive: a zip whose entries lie under one top folder, with the code, the weights, and
our `extra/manifest.json`, put there by torch.jit.save(..., _extra_files={MANIFEST_FILE: manifest.to_json()}).
This module needs the standard library only, so that a file can be refused before torch sees a byte of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autofocus_core.errors import AutofocusError
from autofocus_core.names import MANIFEST_FILE

if TYPE_CHECKING:
    from autofocus_core.schema import Robot

FORMAT = 1
KIND = "autofocus-policy"

_EXPORT_AGAIN = "export the policy again with `autofocus export`"
# What the zip reader raises on damaged bytes, besides BadZipFile: found by flipping bits in a test.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, RuntimeError,
           ValueError)
#: Keys that need not be there, and the value that their absence means: files from before they existed stay readable.
_OPTIONAL = {"state_history": 1}
_MAX_MANIFEST_BYTES = 16 * 1024 * 1024
#: torch stores weights as they are and deflates code alone: an archive that unpacks to more than its own size and this
#: is a bomb, which a checksum of all entries would have to unpack.
_MAX_DEFLATED_BYTES = 64 * 1024 * 1024
#: More points than this no guard accepts in a request.
MAX_HORIZON = 1000


@dataclass(frozen=True, slots=True)
class ManifestCamera:
    """One camera the policy looks through, at the size its driver publishes."""

    name: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a policy file says about itself.

    joints: names in the order of the policy's state and action vectors; units: one of "rad" or "m" for each.
    cameras: in the order of the policy's N images. image_size: (height, width) inside the network, px.
    The policy answers with `horizon` points, dt_s apart, the first one dt_s after the observation.
    objects: what each attention map shows, () where the method has none.
    state_history: joint states that the policy sees, those at t, t - dt_s, ... with t the time of the observation.
    config and normalisation are for people and for training; nothing in the control path reads them.
    """

    robot_name: str
    robot_hash: str
    joints: tuple[str, ...]
    units: tuple[str, ...]
    cameras: tuple[ManifestCamera, ...]
    image_size: tuple[int, int]
    control_rate_hz: float
    horizon: int
    dt_s: float
    objects: tuple[str, ...]
    method: str
    config: Mapping[str, object]
    normalisation: Mapping[str, object]
    dataset_hash: str
    code_version: str
    created: str
    format: int = FORMAT
    kind: str = KIND
    state_history: int = 1

    def to_json(self) -> str:
        """The text for the archive; `parse_manifest` gives an equal Manifest back."""
        table = dataclasses.asdict(self)
        # What means the same when it is absent is left out: versions that do not know the key can run such a policy.
        table = {key: value for key, value in table.items() if key not in _OPTIONAL or value != _OPTIONAL[key]}
        return json.dumps(table, indent=1, sort_keys=True)


def parse_manifest(text: str | bytes, where: str) -> Manifest:
    """JSON text -> Manifest. Unknown keys, missing keys and values of another type raise AutofocusError."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise AutofocusError(where, f"text that is not JSON ({e})", "a JSON object", _EXPORT_AGAIN) from e
    if isinstance(raw, dict):
        raw = _OPTIONAL | raw
    table = _table(raw, where, {f.name for f in dataclasses.fields(Manifest)})
    # Kind and format first: a file of the next format deserves to hear that, not which key it has too many.
    if table["kind"] != KIND:
        raise AutofocusError(f"{where}: kind", repr(table["kind"]), repr(KIND), "give a file of `autofocus export`")
    if table["format"] != FORMAT:
        raise AutofocusError(f"{where}: format", repr(table["format"]), repr(FORMAT),
                             f"install the version of this project that wrote the file, or {_EXPORT_AGAIN}")
    joints = _strings(table, "joints", where)
    units = _strings(table, "units", where)
    if not joints or len(set(joints)) != len(joints):
        raise AutofocusError(f"{where}: joints", repr(joints), "at least one name, none twice", _EXPORT_AGAIN)
    if len(units) != len(joints) or not set(units) <= {"rad", "m"}:
        raise AutofocusError(f"{where}: units", repr(units), f"'rad' or 'm' for each of {len(joints)} joints",
                             _EXPORT_AGAIN)
    cameras = tuple(_camera(c, f"{where}: cameras[{i}]") for i, c in enumerate(_list(table, "cameras", where)))
    if not cameras or len({c.name for c in cameras}) != len(cameras):
        raise AutofocusError(f"{where}: cameras", repr([c.name for c in cameras]), "at least one, none twice",
                             _EXPORT_AGAIN)
    size = _list(table, "image_size", where)
    if len(size) != 2:
        raise AutofocusError(f"{where}: image_size", repr(size), "[height, width] in px", _EXPORT_AGAIN)
    horizon = _count(table["horizon"], f"{where}: horizon")
    if horizon > MAX_HORIZON:
        raise AutofocusError(f"{where}: horizon", str(horizon), f"at most {MAX_HORIZON} points", _EXPORT_AGAIN)
    return Manifest(
        robot_name=_string(table, "robot_name", where), robot_hash=_string(table, "robot_hash", where),
        joints=joints, units=units, cameras=cameras,
        image_size=(_count(size[0], f"{where}: image_size"), _count(size[1], f"{where}: image_size")),
        control_rate_hz=_positive(table["control_rate_hz"], f"{where}: control_rate_hz"),
        horizon=horizon, dt_s=_positive(table["dt_s"], f"{where}: dt_s"),
        objects=_strings(table, "objects", where), method=_string(table, "method", where),
        config=_mapping(table, "config", where), normalisation=_mapping(table, "normalisation", where),
        dataset_hash=_string(table, "dataset_hash", where), code_version=_string(table, "code_version", where),
        created=_string(table, "created", where),
        state_history=_count(table["state_history"], f"{where}: state_history"))


def read_manifest(path: str | Path) -> Manifest:
    """The manifest of a policy file, after checking that the file is a whole TorchScript archive.

    Raises AutofocusError where the file is missing, not a zip, cut short, damaged (checksums), not TorchScript
    (a checkpoint, a pickle), or without our manifest. Nothing is unpickled.
    """
    path = Path(path)
    where = f"policy file {path}"
    if not path.is_file():
        got = "a directory" if path.is_dir() else "nothing there"
        raise AutofocusError(where, got, "a TorchScript file written by `autofocus export`",
                             "check the path given as `policy`, or export one with `autofocus export`")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            _check_torchscript(names, where)
            entry = names[0].split("/", 1)[0] + f"/extra/{MANIFEST_FILE}"
            if entry not in names:
                raise AutofocusError(where, "a TorchScript archive without our manifest",
                                     f"an archive with extra/{MANIFEST_FILE}", _EXPORT_AGAIN)
            unpacked = sum(info.file_size for info in archive.infolist())
            if unpacked > path.stat().st_size + _MAX_DEFLATED_BYTES:
                raise AutofocusError(where, f"{path.stat().st_size} bytes that unpack to {unpacked}",
                                     "an archive whose weights are stored as they are",
                                     "do not use this file; " + _EXPORT_AGAIN)
            if archive.getinfo(entry).file_size > _MAX_MANIFEST_BYTES:
                raise AutofocusError(where, f"a manifest of {archive.getinfo(entry).file_size} bytes",
                                     f"at most {_MAX_MANIFEST_BYTES} bytes", _EXPORT_AGAIN)
            damaged = archive.testzip()
            if damaged is not None:
                raise AutofocusError(where, f"a wrong checksum in {damaged}", "an undamaged archive",
                                     f"copy the file again, or {_EXPORT_AGAIN}")
            return parse_manifest(archive.read(entry), f"{where}: {MANIFEST_FILE}")
    except _DAMAGE as e:
        raise AutofocusError(where, f"not a readable zip archive ({e})",
                             "a TorchScript file written by `autofocus export`",
                             f"if it was copied, copy it again (it may be cut short); otherwise {_EXPORT_AGAIN}") from e


def check_fits(manifest: Manifest, robot: Robot, where: str = "policy") -> None:
    """Raise AutofocusError listing every way in which the policy does not fit the robot; return None if it fits.

    Compared: joint names in order, units, cameras and their sizes, control rate, and that the horizon reaches
    the next inference. The robot's hash is not compared: a changed timeout does not make a policy unfit.
    """
    differences: list[tuple[str, str, str]] = []  # (what, in the policy, of the robot)

    def compare(what: str, mine: object, theirs: object) -> None:
        if mine != theirs:
            differences.append((what, str(mine), str(theirs)))

    compare("joints in order", list(manifest.joints), list(robot.joint_names))
    if manifest.joints == tuple(robot.joint_names):
        compare("units", list(manifest.units), [j.unit for j in robot.all_joints])
    known = {c.name: c for c in robot.cameras}
    for camera in manifest.cameras:
        if camera.name not in known:
            differences.append((f"camera {camera.name!r}", "needed", f"only {sorted(known)}"))
            continue
        theirs = known[camera.name]
        compare(f"camera {camera.name!r} width x height", f"{camera.width_px}x{camera.height_px}",
                f"{theirs.width_px}x{theirs.height_px}")
    if not math.isclose(manifest.control_rate_hz, robot.control_rate_hz, rel_tol=1e-6):
        compare("control_rate_hz", manifest.control_rate_hz, robot.control_rate_hz)
    if manifest.horizon * manifest.dt_s < 1.0 / robot.control_rate_hz - 1e-9:
        differences.append(("horizon", f"{manifest.horizon} x {manifest.dt_s} s",
                            f"at least one control period, {1.0 / robot.control_rate_hz:g} s"))
    if differences:
        raise AutofocusError(
            f"{where} (for robot {manifest.robot_name!r}) on robot {robot.name!r}",
            "; ".join(f"{what}: policy {mine}" for what, mine, _ in differences),
            "; ".join(f"{what}: robot {theirs}" for what, _, theirs in differences),
            "give the robot YAML that the policy was trained for, or train and export a policy for this robot")


def _check_torchscript(names: list[str], where: str) -> None:
    """A TorchScript archive has one top folder with code; torch.save's pickles have data.pkl but no code."""
    tops = {n.split("/", 1)[0] for n in names}
    inside = {n.split("/", 1)[1] for n in names if "/" in n}
    whole = len(tops) == 1 and len(set(names)) == len(names)  # an entry twice: readers would disagree on which counts
    if whole and "constants.pkl" in inside and any(n.startswith("code/") for n in inside):
        return
    got = ("a pickled checkpoint (torch.save), which is never loaded here" if "data.pkl" in inside
           else f"a zip archive of something else ({len(names)} entries)")
    raise AutofocusError(where, got, "a TorchScript file written by `autofocus export`",
                         "turn a checkpoint into a policy file with `autofocus export`")


def _table(raw: object, where: str, keys: set[str]) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise AutofocusError(where, type(raw).__name__, "an object", _EXPORT_AGAIN)
    if raw.keys() != keys:
        found = [f"missing {sorted(keys - raw.keys())}"] if keys - raw.keys() else []
        found += [f"unknown {sorted(raw.keys() - keys)}"] if raw.keys() - keys else []
        raise AutofocusError(where, " and ".join(found), f"exactly the keys {sorted(keys)}", _EXPORT_AGAIN)
    return raw


def _camera(raw: object, where: str) -> ManifestCamera:
    table = _table(raw, where, {"name", "width_px", "height_px"})
    return ManifestCamera(_string(table, "name", where), _count(table["width_px"], f"{where}: width_px"),
                          _count(table["height_px"], f"{where}: height_px"))


def _string(table: dict[str, object], key: str, where: str) -> str:
    if not isinstance(table[key], str):
        raise AutofocusError(f"{where}: {key}", repr(table[key]), "a string", _EXPORT_AGAIN)
    return table[key]


def _list(table: dict[str, object], key: str, where: str) -> list[object]:
    if not isinstance(table[key], list):
        raise AutofocusError(f"{where}: {key}", repr(table[key]), "a list", _EXPORT_AGAIN)
    return table[key]


def _strings(table: dict[str, object], key: str, where: str) -> tuple[str, ...]:
    values = _list(table, key, where)
    if not all(isinstance(v, str) for v in values):
        raise AutofocusError(f"{where}: {key}", repr(values), "a list of strings", _EXPORT_AGAIN)
    return tuple(values)


def _mapping(table: dict[str, object], key: str, where: str) -> Mapping[str, object]:
    if not isinstance(table[key], dict):
        raise AutofocusError(f"{where}: {key}", repr(table[key]), "an object", _EXPORT_AGAIN)
    return table[key]


def _count(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise AutofocusError(where, repr(value), "a whole number of at least 1", _EXPORT_AGAIN)
    return value


def _positive(value: object, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        raise AutofocusError(where, repr(value), "a finite number above 0", _EXPORT_AGAIN)
    return float(value)
