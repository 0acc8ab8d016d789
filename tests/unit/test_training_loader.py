"""Batches are a function of seed and step, whoever makes them, and every key of the maps reaches them."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch
from autofocus_core.errors import AutofocusError
from autofocus_training import loader
from autofocus_training.batch import Batch
from autofocus_training.config import load_config
from autofocus_training.loader import Share, batches, make_batch, mapped_episodes
from autofocus_training.samples import Normaliser, Samples

COUNT, OBJECTS, WINDOW = 24, 2, 3


def config(*overrides: str):
    return load_config("tiny", ["image_height_px=24", "image_width_px=32", *overrides])


def samples() -> Samples:
    """Noise with two objects, which were two pixels further left in each frame before; six episodes."""
    rng = torch.Generator().manual_seed(0)
    corner = torch.randint(4, 14, (COUNT, 1, OBJECTS, 2), generator=rng).float()
    before = corner[:, :, :, None] + 4.0 - torch.tensor([[2.0, 0.0], [4.0, 0.0]])
    return Samples(
        torch.randint(0, 255, (COUNT, 1, 24, 32, 3), generator=rng, dtype=torch.uint8),
        torch.randn(COUNT, 3, generator=rng), torch.randn(COUNT, 3, 3, generator=rng),
        torch.cat([corner, corner + 8.0], dim=-1), torch.ones(COUNT, 1, OBJECTS, dtype=torch.bool),
        torch.arange(COUNT) // 4, torch.arange(COUNT), before,
        torch.ones(COUNT, 1, OBJECTS, WINDOW - 1, dtype=torch.bool), torch.tensor([False, False, True]),
    )  # fmt: skip


DATA = samples()
NORMALISER = Normaliser.fit(DATA.states, DATA.actions, torch.tensor([1.0, 1.0, 0.0]))
EVERYTHING = ("jitter=0.2", "light=0.2", "zoom=0.1", "shift_px=2", "paste_shapes=2", "background_swap=0.5",
              "gripper_noise=0.5", "saliency_share=0.5", "saliency_alpha=0.7", "steps=12")  # fmt: skip


def equal(one: Batch, other: Batch) -> bool:
    def tensors(batch: Batch) -> list[torch.Tensor]:
        targets = (getattr(batch.targets, field.name) for field in dataclasses.fields(batch.targets))
        return [batch.images, batch.state, batch.actions, *(t for t in targets if isinstance(t, torch.Tensor))]

    return one.progress == other.progress and all(map(torch.equal, tensors(one), tensors(other)))


def made(*overrides: str, step: int = 0, share: Share | None = None) -> Batch:
    return make_batch(DATA, NORMALISER, config(*overrides), step, share or Share())


pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_the_same_to_the_bit_whoever_makes_them_and_in_order(workers):
    setting = config(*EVERYTHING)
    with batches(DATA, NORMALISER, setting, 2, 9, Share(), workers) as stream:
        found = list(stream)
    assert len(found) == 7
    for step, batch in zip(range(2, 9), found, strict=True):
        assert equal(batch, make_batch(DATA, NORMALISER, setting, step, Share()))
    assert not multiprocessing.active_children(), "the processes end with the block"


def test_the_processes_end_when_the_loop_is_left_early():
    with batches(DATA, NORMALISER, config("steps=500"), 0, 500, Share(), 2) as stream:
        next(stream)
        assert len(multiprocessing.active_children()) == 2
    assert not multiprocessing.active_children()


def test_opencv_s_threads_do_not_hang_the_processes():
    """A worker that set the number of OpenCV's threads waited for ever for those of the process it was forked from."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 5.0)  # starts them
        with batches(DATA, NORMALISER, config(*EVERYTHING), 0, 3, Share(), 1) as stream:
            assert cv2.getNumThreads() == 4, "until the processes are there"
            assert len(list(stream)) == 3
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(threads)


def test_ctrl_c_leaves_the_processes_to_the_loop():
    """Ctrl-C goes to all processes of a terminal: one that died of it would break the step that is to be saved."""
    with batches(DATA, NORMALISER, config("steps=500"), 0, 500, Share(), 1) as stream:
        next(stream)
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGINT)
        for _ in range(20):
            next(stream)
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_is_an_error_with_a_remedy():
    with (
        pytest.raises(AutofocusError, match="--workers 0"),
        batches(DATA, NORMALISER, config("steps=5000"), 0, 5000, Share(), 1) as stream,
    ):
        next(stream)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        for _ in stream:
            pass


def test_an_error_in_a_process_reaches_the_loop(monkeypatch):
    def broken(*arguments):
        raise AutofocusError("sample 7", "nonsense", "sense", "mend it")

    monkeypatch.setattr(loader, "augment", broken)
    with (
        pytest.raises(AutofocusError, match="sample 7"),
        batches(DATA, NORMALISER, config(), 0, 4, Share(), 1) as stream,
    ):
        next(stream)


def test_two_processes_that_share_a_batch_make_the_halves_of_it():
    whole = made(*EVERYTHING, step=5)
    halves = [made(*EVERYTHING, step=5, share=Share(rank, 2)) for rank in (0, 1)]
    assert torch.equal(torch.cat([half.images for half in halves]), whole.images)
    assert torch.equal(torch.cat([half.state for half in halves]), whole.state)
    assert torch.equal(torch.cat([half.targets.valid for half in halves]), whole.targets.valid)


def test_the_share_of_episodes_with_maps_is_the_one_asked_for():
    """The reference's knob kept all of them whatever its value."""
    for share, count in ((0.0, 0), (0.05, 1), (0.5, 3), (0.84, 5), (1.0, 6)):
        used = mapped_episodes(DATA.episodes, share, seed=3)
        assert len(used) == count
        seen = set()
        for step in range(COUNT // 8):  # an epoch
            setting = config(f"saliency_share={share}", "batch_size=8", "seed=3")
            batch = make_batch(DATA, NORMALISER, setting, step, Share())
            rows = loader.indices(COUNT, 8, 3, step)
            with_maps = batch.targets.now.any(2).any(1)
            seen |= set(DATA.episodes[rows][with_maps].tolist())
            assert torch.equal(with_maps, torch.isin(DATA.episodes[rows], used)), "whole episodes"
        assert seen == set(used.tolist())
    small, large = (set(mapped_episodes(DATA.episodes, share, seed=3).tolist()) for share in (0.34, 0.67))
    assert small < large, "what a small share has a larger one has too"
    assert len({tuple(sorted(mapped_episodes(DATA.episodes, 0.5, seed).tolist())) for seed in range(8)}) > 1


def test_the_window_makes_a_trace_of_the_frames_before():
    trace = made("saliency_alpha=0.7", "jitter=0").targets.object_maps(24, 32)
    alone = made("saliency_alpha=0.0", "jitter=0").targets.object_maps(24, 32)
    now = made("jitter=0").targets.centres_px[:, 0, 0, 0]
    for i in range(8):
        x, y = (int(v) for v in now[i])
        assert trace[i, 0, 0, y, x - 4] > 1.5 * alone[i, 0, 0, y, x - 4], "four pixels left is where it was"
        assert trace[i, 0, 0, y, x + 3] < 1.2 * alone[i, 0, 0, y, x + 3] + 0.05


def test_shape_and_sigma_are_live():
    round_, boxed = (made(f"saliency_shape={s}").targets.object_maps(24, 32) for s in ("centre", "box"))
    assert boxed.sum() > 1.2 * round_.sum()
    assert made("saliency_sigma=0.2").targets.object_maps(24, 32).sum() > 2 * round_.sum()


def test_noise_is_on_the_gripper_alone_whatever_the_targets_are():
    """With absolute targets all joints are predicted as they are; noise is still for the gripper's."""
    absolute = Normaliser.fit(DATA.states, DATA.actions, torch.zeros(3))
    quiet = make_batch(DATA, absolute, config("gripper_noise=0"), 0, Share()).state
    noisy = make_batch(DATA, absolute, config("gripper_noise=0.5"), 0, Share()).state
    assert torch.equal(quiet[:, :2], noisy[:, :2]) and not (quiet[:, 2] == noisy[:, 2]).any()


def test_the_background_of_a_batch_comes_from_all_samples():
    plain, swapped = made("jitter=0"), made("jitter=0", "background_swap=1.0", "paste_margin_px=1")
    assert (plain.images != swapped.images).any(2).float().mean((1, 2, 3)).min() > 0.4
    assert torch.equal(plain.targets.centres_px, swapped.targets.centres_px)


def test_images_go_through_slots_that_are_not_written_before_they_are_read():
    """Slots are reused: one too few, and a process writes a later batch over the one that the loop is looking at."""
    setting = config("steps=40", "batch_size=4")
    with batches(DATA, NORMALISER, setting, 0, 40, Share(), 2) as stream:
        for step, batch in enumerate(stream):
            time.sleep(0.01 if step % 7 == 0 else 0.0)  # the processes get as far ahead as they may
            assert equal(batch, make_batch(DATA, NORMALISER, setting, step, Share()))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_freed_memory_is_kept_for_the_next_batch():
    """A batch of floats at 224 px is 38 MB: each was mapped, cleared page by page, and given back."""
    code = (
        "import resource, sys\n"
        "from autofocus_training.processes import keep_freed_memory\n"
        "keep_freed_memory() if sys.argv[1] == 'kept' else None\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(4): b'x' * 40_000_000\n"
        "before = faults()\n"
        "for _ in range(4): b'x' * 40_000_000\n"
        "print(faults() - before)\n"
    )
    found = {
        how: int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    assert found["kept"] < 100 < 4000 < found["given back"]
