"""Several processes on one run, as torchrun starts them; alone, the same code runs with a share of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from autofocus_core.errors import AutofocusError
from autofocus_training.config import Config
from autofocus_training.loader import Share


@contextmanager
def processes(device: str) -> Iterator[tuple[Share, torch.device]]:
    """(this process's share of every batch, its device) while the block lasts.

    device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N". Under torchrun (WORLD_SIZE in the environment)
    a process group is opened, gloo on CPUs and NCCL on GPUs, and each process takes the GPU of its local rank.
    Raises AutofocusError for a device that is not there.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = pick_device(device)
    if world == 1:
        yield Share(), chosen
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Share(torch.distributed.get_rank(), world), chosen
    finally:
        torch.distributed.destroy_process_group()


def pick_device(device: str) -> torch.device:
    """The torch device of a name; raises AutofocusError for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise AutofocusError("--device", repr(device), "auto, cpu, cuda or cuda:N", "choose one of them") from error
    there = torch.cuda.device_count()
    if chosen.type not in ("cpu", "cuda") or (chosen.type == "cuda" and (chosen.index or 0) >= there):
        allowed = f"cpu, or one of {there} CUDA devices" if there else "cpu: torch sees no GPU here"
        fix = "choose another one, or install a torch that fits the driver (`autofocus doctor`)"
        raise AutofocusError("--device", repr(device), allowed, fix)
    return chosen


def check_share(config: Config, share: Share, samples: int) -> None:
    """Raise AutofocusError where a batch cannot be shared evenly: gradients would not be those of one process."""
    size = min(config.batch_size, samples)
    if size % share.world:
        raise AutofocusError(
            "batch_size", f"{size} samples for {share.world} processes", f"a multiple of {share.world}",
            f"set batch_size={max(share.world, size // share.world * share.world)}, or start fewer processes",
        )  # fmt: skip
