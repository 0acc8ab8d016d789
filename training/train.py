"""`autofocus train`: annotated episodes -> checkpoint.pt, policy.pt and history.json."""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import time
from pathlib import Path

import torch
from autofocus_core.manifest import Manifest, ManifestCamera
from autofocus_core.schema import Robot, Task, load_robot, load_task
from autofocus_training.checkpoint import Checkpoint, save_checkpoint
from autofocus_training.config import METHODS, Config, load_config
from autofocus_training.data import Dataset, load_dataset
from autofocus_training.export import export_policy
from autofocus_training.fit import fit, held_out_loss
from autofocus_training.samples import Normaliser
from autofocus_training.selection import select_episodes
from tqdm import tqdm


def main(argv: list[str]) -> int:
    """Parse, load, train, export; see `autofocus train --help`."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    overrides = [f"seed={args.seed}", *([f"method={args.method}"] if args.method else []), *args.set]
    config = load_config(args.config, overrides)
    robot, task = load_robot(args.robot), load_task(args.task)
    selection = select_episodes(args.episodes, robot, args.include_bad)
    episodes = selection.kept
    print(*selection.lines(), sep="\n", end="\n" if selection.lines() else "")
    started = time.monotonic()
    bar = tqdm(total=len(episodes), desc="reading episodes", unit="episode", disable=None)
    with bar:
        dataset = load_dataset(episodes, robot, task, config, bar.update)
    loaded = time.monotonic()
    print_dataset(dataset, len(episodes))
    checkpoint, history = run(dataset, robot, task, config, args.progress_json)
    trained = time.monotonic()
    save_checkpoint(checkpoint, args.out / "checkpoint.pt")
    difference = export_policy(checkpoint, args.out / "policy.pt")
    history |= {"read_s": round(loaded - started, 2), "train_s": round(trained - loaded, 2)}
    (args.out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    held_out = "none" if history["held_out"] is None else f"{history['held_out']:.4f}"
    print(f"{args.out / 'policy.pt'}: {config.method}, seed {config.seed}, read in {loaded - started:.0f} s, "
          f"trained in {trained - loaded:.0f} s, held-out loss {held_out}, export off by {difference:.0e}")  # fmt: skip
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="autofocus train", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Train a policy on episodes and write checkpoint.pt, policy.pt (TorchScript) and history.json.",
    )  # fmt: skip
    parser.add_argument("episodes", nargs="+", type=Path, help="episodes, or folders of episodes")
    parser.add_argument("--robot", required=True, type=Path, help="robot YAML")
    parser.add_argument("--task", required=True, type=Path, help="task YAML")
    parser.add_argument("--config", default="demo", help="name in training/configs, or a YAML file")
    parser.add_argument("--method", choices=METHODS, help="overrides the config's method; none is plain cloning")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and augmentation")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="change any key of the config")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--include-bad", action="store_true", help="also learn from recordings with verdict bad")
    parser.add_argument("--out", required=True, type=Path, help="directory for the results")
    parser.add_argument("--progress-json", action="store_true", help="a JSON line every 20 steps, for programs")
    return parser.parse_args(argv)


def run(
    dataset: Dataset, robot: Robot, task: Task, config: Config, progress_json: bool = False
) -> tuple[Checkpoint, dict]:
    """Train on a dataset: the checkpoint, and a history of losses for JSON.

    The held-out episodes are the same for all seeds and methods, so that their losses can be compared.
    """
    training, held_out = dataset.samples.split(config.held_out_episodes, seed=0)
    curve: list[dict[str, float]] = []
    bar = tqdm(total=config.steps, desc=f"{config.method} seed {config.seed}", unit="step", disable=None)

    def on_step(step: int, parts: dict[str, float]) -> None:
        bar.update()
        if step % 20 == 0 or step == config.steps - 1:
            bar.set_postfix({name: f"{value:.3f}" for name, value in parts.items() if name != "total"})
            curve.append({"step": step} | {name: value for name, value in parts.items()})
            if progress_json:
                print(json.dumps({"step": step + 1, "loss": parts["total"]}), flush=True)

    with bar:
        network, normaliser = fit(training, relative_joints(robot), config, on_step)
    manifest = make_manifest(dataset, robot, task, config, normaliser)
    checkpoint = Checkpoint(network, normaliser, config, manifest, dataset.probe_images, dataset.probe_states)
    history = {
        "config": config.as_dict(),
        "samples": len(training),
        "held_out_samples": len(held_out),
        "objects": list(dataset.objects),
        "left_out": dict(dataset.left_out),
        "curve": curve,
        "held_out": held_out_loss(network, normaliser, held_out, config),
    }
    return checkpoint, history


def relative_joints(robot: Robot) -> torch.Tensor:
    """(A,) 1 for the arm's joints, predicted relative to the state; 0 for the gripper, predicted as it is."""
    return torch.tensor([1.0] * len(robot.joints) + [0.0] * (robot.gripper is not None))


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
