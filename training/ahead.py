"""Batches made ahead of the loop by other processes. Images go through memory that all of them share, a slot for each
batch on its way, and nothing of a batch through files: handing over tensors as torch does it costs a connection and a
fresh mapping for each of them, which the loop would wait for."""

from __future__ import annotations

import dataclasses
import mmap
import signal
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.utils.data
from autofocus_core.errors import AutofocusError
from autofocus_training.batch import Batch
from autofocus_training.processes import without_opencv_threads
from torch import Tensor

AHEAD = 2  # batches that each process may be ahead


class _Source(torch.utils.data.Dataset):
    """Batches by their step: their images in a slot, all else as arrays, which are sent as they are. An error for
    people is a value, or the loader would wrap it in words of its own."""

    def __init__(self, make: Callable[[int], Batch], slots: np.ndarray) -> None:
        self._make = make
        self._slots = slots

    def __getitem__(self, step: int) -> Batch | AutofocusError:
        try:
            batch = self._make(step)
        except AutofocusError as error:
            return AutofocusError(error.where, error.got, error.allowed, error.fix)
        self._slots[step % len(self._slots)] = batch.images.numpy()
        return dataclasses.replace(batch, images=torch.empty(0)).each(Tensor, Tensor.numpy)


def made_ahead(
    make: Callable[[int], Batch], shape: tuple[int, ...], first: int, last: int, workers: int
) -> Iterator[Batch]:
    """`make(step)` of steps first .. last - 1, in order, from `workers` processes; `shape`: of a batch's images, bytes.

    A batch's images are good until the next batch is asked for. Raises AutofocusError where a process was killed.
    """
    # One for each batch that may be made or waiting, and one for the batch that the loop has.
    slots = _shared_bytes((workers * AHEAD + 1, *shape))
    loader = torch.utils.data.DataLoader(
        _Source(make, slots), batch_size=None, sampler=range(first, last), num_workers=workers, prefetch_factor=AHEAD,
        collate_fn=_as_it_is, worker_init_fn=_in_worker, multiprocessing_context="fork",
    )  # fmt: skip
    with without_opencv_threads():
        iterator = iter(loader)
        try:
            for step, batch in zip(range(first, last), iterator):
                if isinstance(batch, AutofocusError):
                    raise batch
                images = torch.from_numpy(slots[step % len(slots)])
                yield dataclasses.replace(batch.each(np.ndarray, torch.from_numpy), images=images)
        except (EOFError, ConnectionError) as error:  # killed while it handed over a batch
            raise killed("it ended while it handed over a batch") from error
        finally:
            # Not when the last reference goes: a traceback may hold one, and until then every signal of a process that
            # ended is reported again.
            iterator._shutdown_workers()


def killed(what: str) -> AutofocusError:
    """For a process that ended before its time."""
    return AutofocusError(
        "training: a process that makes batches", what, "processes that live",
        "look whether memory ran out (dmesg), and give --workers 0",
    )  # fmt: skip


def _shared_bytes(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros that this process and those forked off it see alike; not in /dev/shm, which containers keep small."""
    return np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)


def _as_it_is(batch: Batch | AutofocusError) -> Batch | AutofocusError:
    return batch


def _in_worker(number: int) -> None:
    # Ctrl-C goes to the whole group of processes: the loop ends its step, saves, and ends these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
