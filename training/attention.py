"""A picture of where trained policies look: frames of annotated episodes, the maps that were asked for, and what each
policy's attention does with them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autofocus_core import looking
from autofocus_core.bags import open_bag
from autofocus_core.episode import Episode
from autofocus_core.errors import AutofocusError
from autofocus_core.images import read_images
from autofocus_core.overlay import COLOURS, draw_overlay
from autofocus_core.schema import Robot, Task
from autofocus_training.checkpoint import Checkpoint, load_checkpoint
from autofocus_training.curves import HISTORY_FILE, labels
from autofocus_training.data import load_dataset
from autofocus_training.loader import targets
from autofocus_training.looking import answer
from autofocus_training.samples import Samples

MOMENTS = ("start", "approach", "grasp", "lift")
#: Of one map for everything: none of the objects' colours.
WHITE = (255, 255, 255)
GRIPPER_MOVES = 1e-3  # rad or m: a gripper that moves less in an episode does not grasp in it
TILE_INCH = 2.4  # width of a picture


@dataclass(frozen=True, slots=True)
class Trained:
    """A policy to look at. seen: names of the episodes that it was trained on, as far as its folder says."""

    folder: Path
    checkpoint: Checkpoint
    seen: frozenset[str] = frozenset()

    @property
    def objects(self) -> tuple[str, ...]:
        """Those that its maps stand for, in their order."""
        return self.checkpoint.manifest.objects


@dataclass(frozen=True, slots=True)
class Look:
    """What one policy does at one moment. maps (M, h, w): one, or one for each object; share: of it, on the objects."""

    maps: np.ndarray
    share: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A row of the picture. image (H, W, 3) uint8; objects with their boxes_px (K, 4), NaN where not valid, px of the
    image, and maps (K, H, W) in [0, 1]; chance: share of an even map on the objects; looks: one for each policy."""

    name: str
    image: np.ndarray
    objects: tuple[str, ...]
    boxes_px: np.ndarray
    maps: np.ndarray
    chance: float
    looks: tuple[Look, ...]


def load_trained(path: Path) -> Trained:
    """Of a run's folder, or of a checkpoint.pt in one. Raises AutofocusError where there is none."""
    path = path / "checkpoint.pt" if path.is_dir() else path
    checkpoint = load_checkpoint(path)
    history = path.with_name(HISTORY_FILE)
    noted = json.loads(history.read_text()) if history.is_file() else {}
    held_out = set(noted.get("held_out_episodes", ()))
    seen = frozenset(name for number, name in enumerate(noted.get("episodes", ())) if number not in held_out)
    return Trained(path.parent, checkpoint, seen)


def moments(
    policies: Sequence[Trained], episode: Episode, robot: Robot, task: Task, names: Sequence[str] = MOMENTS,
    camera: int = 0, title: str = "",
) -> list[Moment]:  # fmt: skip
    """Rows of `episode`, those of MOMENTS that are in `names`, by the movement of the gripper (see `moments_of`).

    camera: index into the task's. title: put before the rows' names. Raises AutofocusError where the episode is not
    annotated with a policy's objects, or has no frame that all policies can be asked at.
    """
    samples = [_samples(policy, episode, robot, task) for policy in policies]
    common = sorted(set.intersection(*(set(s.stamps_ns.tolist()) for s in samples)))
    if not common:
        raise AutofocusError(
            f"episode {episode.path}", "no frame that all policies can be asked at", "one", "give a longer episode"
        )
    first = samples[0]
    rows = torch.isin(first.stamps_ns, torch.tensor(common)).nonzero()[:, 0]
    gripper = _present(first.states)[rows, len(robot.joints)].numpy() if robot.gripper is not None else None
    chosen = moments_of(gripper, len(common))
    stamps = [common[chosen[MOMENTS.index(name)]] for name in names]
    images = _images(episode, robot.camera(task.cameras[camera]).topic, stamps)
    found = []
    for name, stamp_ns, image in zip(names, stamps, images, strict=True):
        one = [s.take((s.stamps_ns == stamp_ns).nonzero()[:1, 0]) for s in samples]
        seconds = (stamp_ns - common[0]) / 1e9
        said = f"{title}{name}, {seconds:.1f} s"
        if any(episode.id in policy.seen for policy in policies):
            said += "\n(trained on)"
        found.append(_moment(policies, one, image, camera, said))
    return found


def moments_of(gripper: np.ndarray | None, count: int) -> tuple[int, int, int, int]:
    """Frames (of `count`) for MOMENTS. gripper (count,): its position, rad or m; None where there is none.

    "grasp" is where the gripper has gone half the way that it goes at all, "approach" halfway to it, "lift" four fifths
    of the rest; a gripper that does not move: evenly.
    """
    last = count - 1
    if gripper is not None:
        gone = np.abs(gripper - gripper[0])
        if gone.max() > GRIPPER_MOVES:
            grasp = int((gone >= gone.max() / 2).argmax())
            return 0, grasp // 2, grasp, grasp + round(0.8 * (last - grasp))
    return 0, last // 3, 2 * last // 3, last


def _samples(policy: Trained, episode: Episode, robot: Robot, task: Task) -> Samples:
    """As the policy was trained on them: its image size, joint history, objects."""
    config = dataclasses.replace(policy.checkpoint.config, objects=policy.objects, anchor_stride=1)
    dataset = load_dataset([episode], robot, task, config)
    if dataset.objects != policy.objects:
        raise AutofocusError(
            f"episode {episode.path}", f"annotated objects {', '.join(dataset.objects) or 'none'}",
            ", ".join(policy.objects), "annotate it with `autofocus annotate`, for the policy's task",
        )  # fmt: skip
    return dataset.samples


def _images(episode: Episode, topic: str, stamps_ns: Sequence[int]) -> list[np.ndarray]:
    """For each stamp of a sample its frame at the camera's own size: the last one at or before, as in the sample."""
    newest: dict[int, tuple[int, np.ndarray]] = {}
    with open_bag(episode.path) as bag:
        for header_ns, _, picture in read_images(bag, topic):
            for stamp_ns in stamps_ns:
                if header_ns <= stamp_ns and (stamp_ns not in newest or header_ns > newest[stamp_ns][0]):
                    newest[stamp_ns] = header_ns, picture
    return [newest[stamp_ns][1] for stamp_ns in stamps_ns]


def _moment(
    policies: Sequence[Trained], samples: Sequence[Samples], image: np.ndarray, camera: int, name: str
) -> Moment:
    config, first = policies[0].checkpoint.config, samples[0]
    valid = first.valid[0, camera].numpy()
    size = image.shape[:2]
    scale = np.array([size[1] / config.image_width_px, size[0] / config.image_height_px] * 2, dtype=np.float32)
    boxes = np.where(valid[:, None], first.boxes_px[0, camera].numpy() * scale, np.nan)
    maps = targets(first.frames(), config).object_maps(*size)[0, camera].numpy()
    looks = []
    for policy, sample in zip(policies, samples, strict=True):
        checkpoint = policy.checkpoint
        _, attention = answer(checkpoint.network, checkpoint.normaliser, sample.images, sample.states)
        cameras = sample.valid.shape[1]
        mine = attention[0].reshape(cameras, -1, *attention.shape[-2:])[camera]
        share = looking.attention_share(
            mine, sample.boxes_px[0, camera].numpy(), sample.valid[0, camera].numpy(), checkpoint.config.image_size
        )
        looks.append(Look(mine, share))
    even = looking.chance(looks[0].maps.shape[-2:], boxes, valid, size)
    return Moment(name, image, policies[0].objects, boxes, maps, even, tuple(looks))


def _present(states: torch.Tensor) -> torch.Tensor:
    return states if states.ndim == 2 else states[:, 0]


def draw_attention(policies: Sequence[Trained], rows: Sequence[Moment], path: Path) -> None:
    """Write a PNG: a row for each moment; columns: the image with its boxes, the maps, each policy's attention.

    Each map is scaled to its own maximum. A policy with one map for everything has it in white.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    said = labels([(p.checkpoint.config.method, p.checkpoint.config.seed, p.folder) for p in policies])
    heads = ["camera image, annotated boxes", f"target maps G (even attention: {_mean(r.chance for r in rows):.0%})"]
    heads += [
        f"{name}\n{_mean(row.looks[i].share for row in rows):.0%} of attention on the objects"
        for i, name in enumerate(said)
    ]
    height, width = rows[0].image.shape[:2]
    figure = Figure(
        figsize=(TILE_INCH * len(heads) + 0.5, TILE_INCH * height / width * len(rows) + 0.9), layout="constrained"
    )
    grid = figure.subplots(len(rows), len(heads), squeeze=False)
    for row, axes in zip(rows, grid, strict=True):
        pictures = [row.image, draw_overlay(row.image, row.maps)]
        for look in row.looks:
            pictures.append(draw_overlay(row.image, look.maps, COLOURS if len(look.maps) > 1 else (WHITE,)))
        for column, (one, picture) in enumerate(zip(axes, pictures, strict=True)):
            one.imshow(picture)
            one.set_xticks([])
            one.set_yticks([])
            _draw_boxes(one, row, thin=column > 0)
            if column > 1:
                behind = {"facecolor": "black", "alpha": 0.6, "pad": 2, "linewidth": 0}
                one.text(0.03, 0.04, f"{row.looks[column - 2].share:.0%}", transform=one.transAxes, fontsize=9,
                         color="white", bbox=behind)  # fmt: skip
        axes[0].set_ylabel(row.name, fontsize=9)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    handles = [Patch(color=_hex(k), label=name) for k, name in enumerate(rows[0].objects)]
    if any(len(look.maps) == 1 for row in rows for look in row.looks) and len(rows[0].objects) > 1:
        handles.append(Patch(facecolor="white", edgecolor="black", label="one map for everything"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw_boxes(axes: Any, row: Moment, thin: bool) -> None:
    from matplotlib.patches import Rectangle

    for k, (x0, y0, x1, y1) in enumerate(row.boxes_px):
        if np.isfinite([x0, y0, x1, y1]).all():
            width = 0.8 if thin else 2.0
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=_hex(k), linewidth=width))


def _hex(k: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*COLOURS[k % len(COLOURS)])


def _mean(values: Any) -> float:
    return float(np.nanmean(list(values)))
