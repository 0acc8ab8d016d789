"""Batches of 64 of the same episodes, by LeRobot's loader or by ours: `PYTHON loading.py WHAT`, WHAT a JSON object.

{"way": "lerobot" | "ours", "root": dataset or folder of episodes, "robot", "task": YAMLs, "size": px, "seconds": s}

LeRobot: `LeRobotDataset` with the action chunk as delta_timestamps and a resize to size x size, in torch's DataLoader
with two workers, as its own training has it. Ours: the cache of the episodes and two workers. Neither augments. First
the loading alone, then with a step of the same network (the demo's, plain cloning) on one thread. Prints JSON:
samples/s of both, how many samples there are, and what decoded their videos.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from autofocus_core.schema import load_robot, load_task
from autofocus_training.batch import Batch, Shapes, Targets
from autofocus_training.config import Config, load_config
from autofocus_training.methods import build_network

WORKERS = 2
WARM_UP = 6  # batches: those that were made before the clock starts are taken


def lerobot(root: Path, config: Config) -> tuple[int, Callable[[], Iterator[Batch]]]:
    """Number of samples, and batches without end."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from torchvision.transforms.v2 import Resize

    chunk = [k * config.dt_s for k in range(1, config.horizon + 1)]
    dataset = LeRobotDataset(
        "local/episodes", root, delta_timestamps={"action": chunk},
        image_transforms=Resize(config.image_size, antialias=True), video_backend=_backend(),
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=config.batch_size, shuffle=True, num_workers=WORKERS, drop_last=True
    )

    def stream() -> Iterator[Batch]:
        while True:
            for found in loader:
                count = config.batch_size
                nothing = Targets(torch.zeros(count, 1, 0, 1, 2), torch.zeros(count, 1, 0, 2),
                                  torch.zeros(count, 1, 0, 1, dtype=torch.bool), config.sigma_px, config.image_size)
                images = found["observation.images.camera"][:, None]
                yield Batch(images, found["observation.state"], found["action"], nothing)

    return len(dataset), stream


def _backend() -> str:
    """Its default, or what it falls back to where that cannot be loaded."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return "pyav"
    return "torchcodec"


def ours(root: Path, robot_file: Path, task_file: Path, config: Config) -> tuple[int, Callable[[], Iterator[Batch]]]:
    """The same from a cache of the episodes in `root`."""
    from autofocus_core.episode import list_episodes
    from autofocus_training.cache import load_cached
    from autofocus_training.loader import Share, batches
    from autofocus_training.samples import Normaliser

    robot, task = load_robot(robot_file), load_task(task_file)
    samples = load_cached(root / "cache_of_loading", list_episodes(root, robot), robot, task, config).samples
    joints = samples.states.shape[-1]
    plain = Normaliser(*(torch.zeros(joints), torch.ones(joints)) * 2, torch.zeros(joints))

    def stream() -> Iterator[Batch]:
        with batches(samples, plain, config, 0, config.steps, Share(), WORKERS) as found:
            yield from found

    return len(samples), stream


def samples_per_s(stream: Iterator[Batch], seconds: float, work: Callable[[Batch], Any]) -> float:
    """From the end of the warm-up on, for about `seconds`."""
    counted, began_s = 0, 0.0
    for number, batch in enumerate(stream):
        work(batch)
        if number < WARM_UP:
            began_s = time.perf_counter()
            continue
        counted += len(batch.state)
        if time.perf_counter() - began_s > seconds:
            break
    return counted / (time.perf_counter() - began_s)


def stepper(config: Config, joints: int) -> Callable[[Batch], None]:
    """A training step of the network, as training/fit.py does it."""
    torch.manual_seed(0)
    network = build_network(config, Shapes(1, 0, joints, config.image_size)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, fused=True)

    def step(batch: Batch) -> None:
        losses = network.losses(batch)
        optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip_norm)
        optimizer.step()

    return step


def main(what: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    config = load_config("demo", [
        "method=none", f"image_height_px={what['size']}", f"image_width_px={what['size']}", "steps=1000000", "jitter=0",
        "shift_px=0", "gripper_noise=0",
    ])  # fmt: skip
    if what["way"] == "ours":
        from autofocus_training.processes import keep_freed_memory

        keep_freed_memory()
        backend, (count, stream) = "", ours(Path(what["root"]), Path(what["robot"]), Path(what["task"]), config)
    else:
        backend, (count, stream) = _backend(), lerobot(Path(what["root"]), config)
    alone = samples_per_s(stream(), what["seconds"], lambda batch: None)
    joints = len(load_robot(what["robot"]).joint_names)
    together = samples_per_s(stream(), what["seconds"], stepper(config, joints))
    print(json.dumps({"samples": count, "backend": backend, "loading": alone, "loop": together}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
