"""The cache of a data set: the same samples, found by content, shared among processes, mended when damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import training_bags as bags
from autofocus_core.episode import content_hash, load_episode
from autofocus_core.episode_meta import Trim
from autofocus_core.manifest import read_manifest
from autofocus_core.resample import Observation
from autofocus_core.review import Dropped, Review, write_review
from autofocus_policy.runner import PolicyRunner
from autofocus_training import cache, train
from autofocus_training.cache import KEPT, default_folder, load_cached
from autofocus_training.checkpoint import load_checkpoint
from autofocus_training.config import load_config
from autofocus_training.data import load_dataset
from autofocus_training.samples import Samples, StoredImages

CONFIG = load_config("tiny", ["saliency_window=2", "state_history=2"])


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    return [bags.write_episode(tmp_path / "episodes" / name, frames=16) for name in ("e0", "e1")]


class Reader:
    """Loads through a cache and counts the episodes that were really read."""

    def __init__(self, monkeypatch) -> None:
        self.read = 0
        self.said: list[str] = []
        whole = cache.assemble

        def counting(episodes, *rest):
            self.read += len(episodes)
            return whole(episodes, *rest)

        monkeypatch.setattr(cache, "assemble", counting)

    def load(self, paths, config=CONFIG, folder=None):
        episodes = [load_episode(path) for path in paths]
        folder = folder or default_folder([paths[0].parent])
        return load_cached(folder, episodes, bags.robot(), bags.task(), config, say=self.said.append)


@pytest.fixture
def reader(monkeypatch) -> Reader:
    return Reader(monkeypatch)


def same(one: Samples, other: Samples) -> bool:
    index = torch.arange(len(one))
    first, second = one.take(index), other.take(index)
    pairs = [(getattr(first, name), getattr(second, name)) for name in Samples.__slots__]
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b)
               for a, b in pairs)  # fmt: skip


def test_the_second_start_reads_no_episode_and_gives_the_same(paths, reader):
    plain = load_dataset([load_episode(path) for path in paths], bags.robot(), bags.task(), CONFIG)
    for found in (reader.load(paths), reader.load(paths)):
        assert isinstance(found.samples.images, StoredImages), "on the disk, not in memory"
        assert same(found.samples, plain.samples)
        assert (found.objects, found.left_out, found.hash) == (plain.objects, plain.left_out, plain.hash)
        assert torch.equal(found.probe_images, plain.probe_images)
        assert torch.equal(found.probe_states, plain.probe_states)
    assert reader.read == 2 and not reader.said
    assert default_folder([paths[0]]) == default_folder([paths[0].parent]) == paths[0].parent / ".autofocus" / "cache"


def test_whatever_changes_the_samples_makes_them_anew(paths, reader):
    folder = paths[0].parent.parent / "cache"
    seen = {reader.load(paths, folder=folder).hash}

    def changed(config=CONFIG) -> None:
        before = reader.read
        seen.add(reader.load(paths, config, folder).hash)
        assert reader.read == before + len(paths)

    changed(load_config("tiny", ["saliency_window=2", "state_history=2", "horizon=2"]))
    changed(load_config("tiny", ["saliency_window=2", "state_history=2", "objects=[gripper]"]))
    decisions = Review("e0", content_hash(paths[0]), dropped=(Dropped("camera", "gripper"),))
    write_review(decisions, paths[0])
    changed()
    bags.write_sidecar(paths[1], trim=Trim(bags.START_NS, bags.START_NS + 9 * bags.FRAME_NS, "by hand"))
    changed()
    bags.write_annotation(bags._annotation(paths[1], 16, (4,)), paths[1])
    changed()
    assert len(seen) == 6


def test_a_touched_or_copied_recording_is_recognised_by_its_content(paths, reader):
    first = reader.load(paths)
    for file in paths[0].glob("*.mcap"):
        os.utime(file)
    assert reader.load(paths).hash == first.hash
    write_review(Review("e0", content_hash(paths[0]), note="only a note"), paths[0])
    assert reader.load(paths).hash == first.hash
    assert reader.read == 2, "the samples are the same: they are not read again"


@pytest.mark.parametrize("file", ["images.bin", "arrays.npz", "meta.json"])
@pytest.mark.parametrize("how", ["a bit", "cut", "gone"])
def test_a_damaged_entry_is_found_out_and_made_anew(paths, reader, file, how):
    good = reader.load(paths)
    (damaged,) = default_folder([paths[0].parent]).glob(f"*/{file}")
    raw = bytearray(damaged.read_bytes())
    if how == "gone":
        damaged.unlink()
    else:
        raw[len(raw) // 2] ^= 1 if file != "meta.json" else 0x80
        damaged.write_bytes(raw if how == "a bit" else raw[: len(raw) // 2])
    plain = load_dataset([load_episode(path) for path in paths], bags.robot(), bags.task(), CONFIG)
    del good
    assert same(reader.load(paths).samples, plain.samples)
    assert reader.read == 4 and "anew" in reader.said[0]


def test_a_reader_that_was_killed_leaves_nothing_that_counts(paths, reader, monkeypatch):
    def killed(*arguments, **arrays):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache.np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            reader.load(paths)
    folder = default_folder([paths[0].parent])
    assert not list(folder.glob("*/meta.json"))
    assert len(reader.load(paths).samples) and reader.read == 4


def test_where_nothing_can_be_written_it_is_said_and_read_into_memory(paths, reader, tmp_path):
    (tmp_path / "file").write_text("")
    found = reader.load(paths, folder=tmp_path / "file" / "cache")
    assert isinstance(found.samples.images, torch.Tensor) and "no cache" in reader.said[0]


def test_old_entries_go(paths, reader):
    folder = default_folder([paths[0].parent])
    for horizon in range(1, KEPT + 3):
        reader.load(paths, load_config("tiny", [f"horizon={horizon}"]))
    assert len(list(folder.glob("*/meta.json"))) == KEPT == len(list((folder / "seen").iterdir()))
    before = reader.read
    reader.load(paths, load_config("tiny", [f"horizon={KEPT + 2}"]))
    assert reader.read == before, "the newest is there"


def test_several_processes_at_once_read_the_episodes_once(paths, tmp_path):
    script = (
        "import sys, json, training_bags as bags\n"
        "from pathlib import Path\n"
        "from autofocus_core.episode import load_episode\n"
        "from autofocus_training import cache\n"
        "from autofocus_training.config import load_config\n"
        "read = []\n"
        "found = cache.load_cached(Path(sys.argv[1]), [load_episode(p) for p in sys.argv[2:]], bags.robot(),\n"
        "    bags.task(), load_config('tiny'), say=read.append)\n"
        "print(json.dumps([len(found.samples), int(found.samples.take(found.samples.episodes >= 0).images.sum())]))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(bags.__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), *map(str, paths)]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=100)[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert len({tuple(json.loads(answer)) for answer in answers}) == 1 and np.prod(json.loads(answers[0])) > 0
    assert len(list((tmp_path / "cache").glob("*/meta.json"))) == 1


def test_autofocus_train_uses_it_and_a_policy_with_a_history_comes_out(paths, tmp_path, capsys, monkeypatch):
    """The whole way twice: the second run reads no episode and leaves the same weights, by whatever workers."""

    def weights(out: str, *more: str) -> list[torch.Tensor]:
        settings = ("steps=3", "state_history=2", "background_swap=0.5", "light=0.1", "joint_targets=absolute")
        argv = bags.train_arguments(tmp_path, out, *more, "--set", *settings, episodes=paths[0].parent)
        assert train.main(argv) == 0
        return list(load_checkpoint(tmp_path / out / "checkpoint.pt").network.parameters())

    reader = Reader(monkeypatch)
    first, second = weights("one", "--workers", "0"), weights("two", "--workers", "1")
    assert reader.read == 2 and all(map(torch.equal, first, second))
    third = weights("three", "--no-cache", "--workers", "1")
    assert reader.read == 2 and all(map(torch.equal, first, third))
    manifest = read_manifest(tmp_path / "one" / "policy.pt")
    assert manifest.state_history == 2
    policy = PolicyRunner(tmp_path / "one" / "policy.pt", bags.robot())
    seen = Observation(5, {"camera": bags.picture(3)}, {"camera": 5}, np.zeros(3), 5, earlier=(np.zeros(3),))
    assert policy.act(seen).positions.shape == (3, 3)
