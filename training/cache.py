"""What was read once is not read again: a data set on disk, mapped into memory, found by its content.

An entry is a folder KEY with images.bin (the samples' images, one after the other), arrays.npz (all the rest) and
meta.json (shapes, names, checksums). KEY is a hash of the recordings, the annotations as reviewed, the trims, the
settings and the code that reads. To find it without reading the recordings, `seen/` has a file for each state of the
files (names, sizes, times of change) whose key was worked out before, as git's index does.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import autofocus_core
import numpy as np
import torch
from autofocus_core.crc import crc32
from autofocus_core.episode import Episode
from autofocus_core.errors import AutofocusError
from autofocus_core.files import write_atomic
from autofocus_core.schema import Robot, Task
from autofocus_training.config import Config
from autofocus_training.data import (
    Dataset,
    assemble,
    data_hash,
    data_settings,
    load_dataset,
    needs_annotation,
    read_annotations,
)
from autofocus_training.samples import Samples, StoredImages
from autofocus_training.sources import Source, as_sources

FORMAT = 1
KEPT = 8  # entries of one folder: the one used longest ago goes first
BLOCK = 1 << 24
READERS = (
    "cache.py", "data.py", "images.py", "lerobot_dataset.py", "lerobot_episode.py", "lerobot_pictures.py", "reading.py",
    "samples.py", "sources.py",
)  # fmt: skip


def default_folder(paths: Sequence[Path]) -> Path:
    """Beside the episodes: in the first folder that was given, or that of the episode."""
    first = paths[0]
    folder = first.parent if first.is_file() or (first / "metadata.yaml").is_file() else first
    return folder / ".autofocus" / "cache"


def load_cached(
    folder: Path, episodes: Sequence[Episode | Source], robot: Robot, task: Task, config: Config,
    on_episode: Callable[[], object] = lambda: None, workers: int = 0, say: Callable[[str], object] = print,
) -> Dataset:  # fmt: skip
    """As `load_dataset`, from the cache in `folder` where it has it, else read and put there. The images stay on disk.

    Several processes may do so at once: one reads, the others wait for it. A damaged entry is made anew. Where nothing
    can be written, everything is kept in memory, and `say` hears why.
    """
    episodes = as_sources(episodes)
    try:
        (folder / "seen").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        say(f"no cache in {folder} ({error.strerror}): reading into memory")
        return load_dataset(episodes, robot, task, config, on_episode, workers)
    seen = folder / "seen" / _state_of_files(episodes, robot, task, config)
    with _locked(folder, say):
        found = _open(folder / seen.read_text().strip(), say) if seen.is_file() else None
        if found is None:
            annotations = read_annotations(episodes, config)
            key = _hash(data_hash(episodes, annotations, robot, task, config), _code())
            found = _open(folder / key, say)
            if found is None:
                _build(folder / key, lambda sink: assemble(
                    episodes, annotations, robot, task, config, sink, on_episode, workers))  # fmt: skip
                found = _open(folder / key, say)
            if found is None:
                raise AutofocusError(
                    f"cache {folder / key}", "other bytes than those just written", "a disk that keeps what it gets",
                    "look at the disk, give another folder with --cache, or --no-cache",
                )  # fmt: skip
            write_atomic(seen, key + "\n")
            _prune(folder, key)
        else:
            for _ in episodes:
                on_episode()
    return found


class _File:
    """Takes images episode by episode and appends them to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def add(self, images: np.ndarray) -> None:
        """See `data.ImageSink`."""
        self._shape = images.shape[1:]
        self._count += len(images)
        self._file.write(np.ascontiguousarray(images).data)

    def images(self) -> StoredImages:
        """See `data.ImageSink`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return _mapped(self._path, (self._count, *self._shape))


def _build(entry: Path, read: Callable[[_File], Dataset]) -> None:
    partial = entry.with_name(entry.name + ".partial")
    for left in (partial, entry):  # of a run that was killed; damaged
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir()
    try:
        dataset = read(_File(partial / "images.bin"))
        arrays = {
            field.name: getattr(dataset.samples, field.name).numpy()
            for field in dataclasses.fields(Samples) if field.name != "images"
        }  # fmt: skip
        arrays |= {"probe_images": dataset.probe_images.numpy(), "probe_states": dataset.probe_states.numpy()}
        np.savez(partial / "arrays.npz", **arrays)
        meta = {
            "format": FORMAT, "images": list(dataset.samples.images.shape), "objects": list(dataset.objects),
            "left_out": dict(dataset.left_out), "hash": dataset.hash,
            "files": {name: _checksum(partial / name) for name in ("images.bin", "arrays.npz")},
        }  # fmt: skip
        write_atomic(partial / "meta.json", json.dumps(meta, indent=1) + "\n")
        partial.rename(entry)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _open(entry: Path, say: Callable[[str], object]) -> Dataset | None:
    """The data set of an entry; None where there is none, or where it is damaged, which `say` hears."""
    if not entry.is_dir():
        return None
    try:
        meta = json.loads((entry / "meta.json").read_text())
        wrong = [name for name, checksum in meta["files"].items() if _checksum(entry / name) != checksum]
        if wrong:
            say(f"cache {entry}: {', '.join(wrong)} damaged: reading the episodes anew")
            return None
        with np.load(entry / "arrays.npz", allow_pickle=False) as stored:
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
        probes = arrays.pop("probe_images"), arrays.pop("probe_states")
        images = _mapped(entry / "images.bin", tuple(meta["images"]))
        samples = Samples(images=images, **arrays)
        found = Dataset(samples, tuple(meta["objects"]), Counter(meta["left_out"]), *probes, meta["hash"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"cache {entry}: damaged ({error}): reading the episodes anew")
        return None
    os.utime(entry)  # when it was used last
    return found


def _mapped(path: Path, shape: tuple[int, ...]) -> StoredImages:
    return StoredImages(np.memmap(path, dtype=np.uint8, mode="r", shape=shape), torch.arange(shape[0]))


def _checksum(path: Path) -> list[int]:
    """[bytes, CRC-32] of a file."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found = crc32(block, found)
    return [path.stat().st_size, found]


@contextmanager
def _locked(folder: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Alone in a cache's folder; waits for whoever is in it. The system lets go when a process ends, however."""
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that is reading episodes into the cache")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prune(folder: Path, keep: str) -> None:
    entries = [entry for entry in folder.iterdir() if (entry / "meta.json").is_file() and entry.name != keep]
    entries.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in entries[KEPT - 1 :]:
        shutil.rmtree(entry, ignore_errors=True)  # who has it mapped keeps it until the end
    for left in folder.glob("*.partial"):  # of a reader that was killed: nobody else is in here
        shutil.rmtree(left, ignore_errors=True)
    there = {entry.name for entry in entries[: KEPT - 1]} | {keep}
    for seen in (folder / "seen").iterdir():
        if seen.read_text().strip() not in there:
            seen.unlink()


def _state_of_files(episodes: Sequence[Source], robot: Robot, task: Task, config: Config) -> str:
    """Hash of everything that the data depend on, with the recordings by their names, sizes and times of change."""
    parts: list[Any] = [robot.hash(), data_settings(task, config), needs_annotation(config), _code()]
    parts += [episode.fingerprint() for episode in episodes]
    return _hash(*parts)


def _code() -> str:
    """Hash of the sources that decide what is read."""
    digest = hashlib.sha256(f"{FORMAT} numpy {np.__version__} torch {torch.__version__}".encode())
    for path in sorted(Path(autofocus_core.__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    for name in READERS:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
