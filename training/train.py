"""`autofocus train`: annotated episodes -> checkpoint.pt, policy.pt, history.json and curves.png."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import Manifest, ManifestCamera
from autofocus_core.schema import Robot, Task, load_robot, load_task
from autofocus_training import lerobot_dataset
from autofocus_training.cache import default_folder, load_cached
from autofocus_training.checkpoint import STATE_FILE, Checkpoint, load_state, save_checkpoint, save_state
from autofocus_training.config import Config, load_config
from autofocus_training.curves import CURVES_FILE, HISTORY_FILE, draw_curves, read_curves
from autofocus_training.data import Dataset, load_dataset
from autofocus_training.distributed import check_share, processes
from autofocus_training.export import export_policy
from autofocus_training.fit import Parts, Run, advance, begin, held_out_loss
from autofocus_training.journal import EVERY, Journal
from autofocus_training.loader import Share
from autofocus_training.looking import look
from autofocus_training.names import METHOD_DEFAULTS, METHODS
from autofocus_training.processes import keep_freed_memory
from autofocus_training.samples import Normaliser
from autofocus_training.selection import select_episodes
from tqdm import tqdm

HELD_OUT_POINTS = 10  # of the held-out curve


def main(argv: list[str]) -> int:
    """Parse, load, train, export; see `autofocus train --help`. 130 where it was stopped by SIGINT or SIGTERM."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    config = config_of(args)
    robot, task = load_robot(args.robot), load_task(args.task)
    with processes(args.device) as (share, device):
        chief = share.rank == 0
        if args.lerobot is not None:
            selection = lerobot_dataset.chosen(args, robot, task)
        else:
            selection = select_episodes(args.episodes, robot, args.include_bad)
        if chief:
            print(*selection.lines(), sep="\n", end="\n" if selection.lines() else "")
        started = time.monotonic()
        bar = tqdm(total=len(selection.kept), desc="reading episodes", unit="episode", disable=None if chief else True)
        with bar:
            if args.no_cache:
                dataset = load_dataset(selection.kept, robot, task, config, bar.update, args.workers)
            else:
                folder = args.cache or default_folder(args.episodes or [args.lerobot])
                dataset = load_cached(folder, selection.kept, robot, task, config, bar.update, args.workers, bar.write)
        read_s = time.monotonic() - started
        if chief:
            print_dataset(dataset, len(selection.kept))
        plan = Plan(
            share, device, state=args.out / STATE_FILE, resume=args.resume, restart=args.restart,
            save_every_s=args.save_every_s, json_lines=args.progress_json,
            tensorboard=args.out / "tensorboard" if args.tensorboard and chief else None,
            workers=args.workers,
        )  # fmt: skip
        try:
            checkpoint, history = run(dataset, robot, task, config, plan)
        except Stopped as stopped:
            if chief:
                print(f"stopped after step {stopped.steps} of {config.steps}; the same command with --resume goes on")
            return 130
        if chief:
            names = [episode.id for episode in selection.kept]
            finish(checkpoint, history | {"episodes": names, "read_s": round(read_s, 2)}, args.out)
    return 0


def finish(checkpoint: Checkpoint, history: dict[str, Any], out: Path) -> None:
    """Write checkpoint.pt, policy.pt, history.json and its picture curves.png, and say what came out."""
    save_checkpoint(checkpoint, out / "checkpoint.pt")
    difference = export_policy(checkpoint, out / "policy.pt")
    (out / HISTORY_FILE).write_text(json.dumps(history, indent=1) + "\n")
    (out / STATE_FILE).unlink(missing_ok=True)
    draw_curves([read_curves(out)], out / CURVES_FILE)
    config, held_out = checkpoint.config, history["held_out"]
    print(f"{out / 'policy.pt'}: {config.method}, seed {config.seed}, read in {history['read_s']:.0f} s, "
          f"trained in {history['train_s']:.0f} s, held-out loss {'none' if held_out is None else f'{held_out:.4f}'}, "
          f"export off by {difference:.0e}")  # fmt: skip
    if history["looking"] is not None:
        seen = history["looking"]
        print(f"held-out attention on objects {seen['attention_share']:.0%} (chance {seen['chance']:.0%}); covering an "
              f"object moves the action {seen['moved_by_objects']:.2f} steps, covering background "
              f"{seen['moved_by_background']:.2f}")  # fmt: skip


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="autofocus train", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Train a policy on episodes and write checkpoint.pt, policy.pt (TorchScript), history.json and "
        "curves.png. On several GPUs: torchrun --nproc_per_node=N -m autofocus_cli.main train ...",
    )  # fmt: skip
    parser.add_argument("episodes", nargs="*", type=Path, help="episodes, or folders of episodes")
    lerobot_dataset.add_arguments(parser)
    parser.add_argument("--robot", required=True, type=Path, help="robot YAML")
    parser.add_argument("--task", required=True, type=Path, help="task YAML")
    parser.add_argument("--config", default="demo", help="name in training/configs, or a YAML file")
    parser.add_argument("--method", choices=METHODS,
                        help="instead of the config's, with that method's own settings; none is plain cloning")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and augmentation")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change any key of the config")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes that read and make batches")
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument("--cache", type=Path, help="folder for what was read (default: EPISODES/.autofocus/cache)")
    cache.add_argument("--no-cache", action="store_true", help="read the episodes into memory, and keep nothing")
    parser.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N")
    parser.add_argument("--include-bad", action="store_true", help="also learn from recordings with verdict bad")
    parser.add_argument("--out", required=True, type=Path, help="directory for the results")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a run that was interrupted, exactly")
    again.add_argument("--restart", action="store_true", help="throw an interrupted run away")
    parser.add_argument("--save-every-s", type=float, default=60.0, help="how much of a killed run may be lost, s")
    parser.add_argument("--tensorboard", action="store_true", help="curves for TensorBoard in OUT/tensorboard")
    parser.add_argument("--progress-json", action="store_true", help="a JSON line every 20 steps, for programs")
    args = parser.parse_args(argv)
    if bool(args.episodes) == (args.lerobot is not None):
        parser.error("give episodes, or --lerobot DIR (and not both)")
    return args


def default_workers() -> int:
    """Two, where there are cores for them; none where the only core is the network's."""
    return min(2, len(os.sched_getaffinity(0)) - 1)


def config_of(args: argparse.Namespace) -> Config:
    """The config that is asked for: the file's, then the method's own settings, then what --set says."""
    method = [f"method={args.method}", *METHOD_DEFAULTS.get(args.method, ())] if args.method else []
    return load_config(args.config, [f"seed={args.seed}", *method, *args.set])


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is done, as opposed to what is trained: nothing here changes the weights that come out."""

    share: Share = field(default_factory=Share)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    state: Path | None = None  # where an interrupted run is kept
    resume: bool = False
    restart: bool = False
    save_every_s: float = 60.0
    json_lines: bool = False
    tensorboard: Path | None = None
    workers: int = 0  # processes that make batches ahead


class Stopped(Exception):
    """A run was asked to stop and is saved after `steps` steps."""

    def __init__(self, steps: int) -> None:
        super().__init__(f"stopped after step {steps}")
        self.steps = steps


def run(
    dataset: Dataset, robot: Robot, task: Task, config: Config, plan: Plan | None = None
) -> tuple[Checkpoint, dict[str, Any]]:
    """Train on a dataset: the checkpoint, and a history of losses for JSON.

    The held-out episodes are the same for all seeds and methods, so that their losses can be compared. Raises `Stopped`
    at SIGINT or SIGTERM, AutofocusError where an interrupted run lies in the way or does not fit.
    """
    plan = plan or Plan()
    training, held_out = dataset.samples.split(config.held_out_episodes, seed=0)
    check_share(config, plan.share, len(training))
    fit = begin(training, relative_joints(robot, config), config, plan.device)
    curve = _earlier(plan, fit, config, dataset.hash)
    journal = Journal(config, fit.step, curve, plan.json_lines, plan.tensorboard, quiet=plan.share.rank > 0)
    every = max(EVERY, config.steps // HELD_OUT_POINTS // EVERY * EVERY)
    saved_s = time.monotonic()

    def save() -> None:
        if plan.share.rank == 0 and plan.state is not None:
            save_state(plan.state, fit, config, dataset.hash, journal.curve)

    def on_step(step: int, parts: Parts) -> None:
        nonlocal saved_s
        measured = None
        if plan.share.rank == 0 and (step % every == 0 or step == config.steps - 1):
            measured = held_out_loss(fit.network, fit.normaliser, held_out, config)
        journal.step(step, parts, measured)
        if plan.share.any(signals.stopped) and step < config.steps - 1:
            save()
            raise Stopped(step + 1)
        if time.monotonic() - saved_s > plan.save_every_s:
            save()
            saved_s = time.monotonic()

    with journal, _Signals() as signals:
        advance(fit, training, config, on_step=on_step, share=plan.share, workers=plan.workers)
        samples_per_s = journal.samples_per_s(fit.step)
    network, normaliser = fit.result().cpu(), fit.normaliser
    manifest = make_manifest(dataset, robot, task, config, normaliser)
    limits = np.array([joint.velocity for joint in robot.all_joints]) * config.dt_s
    seen = look(network, normaliser, held_out, limits) if plan.share.rank == 0 else None
    history = {
        "config": config.as_dict(),
        "samples": len(training),
        "held_out_samples": len(held_out),
        "held_out_episodes": torch.unique(held_out.episodes).tolist(),  # their places among all
        "objects": list(dataset.objects),
        "left_out": dict(dataset.left_out),
        "curve": journal.curve,
        "held_out": held_out_loss(network, normaliser, held_out, config),
        "looking": None if seen is None else dataclasses.asdict(seen),
        "train_s": round(time.monotonic() - journal.began_s, 2),
        "samples_per_s": round(samples_per_s, 1),
        "processes": plan.share.world,
        "device": str(plan.device),
    }
    return Checkpoint(network, normaliser, config, manifest, dataset.probe_images, dataset.probe_states), history


def _earlier(plan: Plan, fit: Run, config: Config, dataset_hash: str) -> list[dict[str, float]]:
    """The curve of the interrupted run that `fit` now stands at; empty for a new one."""
    if plan.state is None or not plan.state.is_file():
        if plan.resume and plan.share.rank == 0:
            print("no interrupted run here: starting at step 0")
        return []
    if plan.restart:
        return []
    if not plan.resume:
        raise AutofocusError(
            f"--out {plan.state.parent}", "a run that was interrupted", "an empty or finished folder",
            "go on with it by --resume, or throw it away by --restart",
        )  # fmt: skip
    return load_state(plan.state, fit, config, dataset_hash)


class _Signals:
    """SIGINT and SIGTERM end a run between two steps: in the main thread, while the block lasts."""

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
        return self

    def _stop(self, number: int, frame: object) -> None:
        self.stopped = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def relative_joints(robot: Robot, config: Config) -> torch.Tensor:
    """(A,) 1 for joints predicted relative to the state (the arm's, as configured), 0 for those predicted as is."""
    arm = float(config.joint_targets == "relative")
    return torch.tensor([arm] * len(robot.joints) + [0.0] * (robot.gripper is not None))


def make_manifest(dataset: Dataset, robot: Robot, task: Task, config: Config, normaliser: Normaliser) -> Manifest:
    """What the policy file will say about itself."""
    cameras = [robot.camera(name) for name in task.cameras]
    return Manifest(
        robot_name=robot.name,
        robot_hash=robot.hash(),
        joints=robot.joint_names,
        units=tuple(joint.unit for joint in robot.all_joints),
        cameras=tuple(ManifestCamera(c.name, c.width_px, c.height_px) for c in cameras),
        image_size=config.image_size,
        control_rate_hz=robot.control_rate_hz,
        horizon=config.horizon,
        dt_s=config.dt_s,
        objects=dataset.objects,
        method=config.method,
        config=config.as_dict(),
        normalisation=normaliser.as_dict(),
        dataset_hash=dataset.hash,
        code_version=code_version(),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        state_history=config.state_history,
    )


def code_version() -> str:
    """The checkout's commit, with "+" where files differ from it; "unknown" outside a git checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def print_dataset(dataset: Dataset, episodes: int) -> None:
    """What was read and what was not, for people."""
    print(f"{len(dataset.samples)} samples from {episodes} episodes, objects: {', '.join(dataset.objects) or 'none'}")
    if dataset.objects:
        shares = dataset.samples.valid.float().mean((0, 1)).tolist()
        print("valid: " + ", ".join(f"{name} {share:.1%}" for name, share in zip(dataset.objects, shares)))
    for reason, count in dataset.left_out.items():
        print(f"left out {count} frames: {reason}")
