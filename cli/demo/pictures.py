"""Pictures of the report: frames with boxes and maps, attention, and what a policy's action really depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from autofocus_core.annotation import read_annotation
from autofocus_core.bags import open_bag
from autofocus_core.images import read_images
from autofocus_core.resample import Observation
from autofocus_core.saliency import gaussian_maps, union_map
from autofocus_core.schema import Robot
from autofocus_policy.runner import PolicyRunner
from autofocus_sim.demos import Demonstration

#: RGB of objects' boxes, in order.
BOX_COLOURS = ((14, 200, 230), (255, 170, 40), (120, 230, 120), (240, 120, 240))
JPEG_QUALITY = 88
#: Standard deviation of an object's map as a share of the frame's height: 20 px at 480, as in the paper.
SIGMA_SHARE = 1.0 / 24.0
#: Side of the grey patch and its stride, as shares of the frame's height.
PATCH_SHARE, STRIDE_SHARE = 0.15, 0.1
GREY = 127


def save_jpeg(path: Path, image: np.ndarray) -> None:
    """Write rgb uint8 (H, W, 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f"could not write {path}")


def draw_boxes(image: np.ndarray, boxes: Mapping[str, np.ndarray]) -> np.ndarray:
    """A copy, twice as large, with boxes in BOX_COLOURS (x0 y0 x1 y1 in px of `image`; NaN: not drawn)."""
    canvas = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for i, box in enumerate(boxes.values()):
        if np.isfinite(box).all():
            colour = BOX_COLOURS[i % len(BOX_COLOURS)]
            x0, y0, x1, y1 = (round(2 * float(v)) for v in box)
            cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, 3, cv2.LINE_AA)
    return canvas


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """`heat` (h, w) in [0, 1] over a greyed copy of `image`, twice as large."""
    size = (2 * image.shape[1], 2 * image.shape[0])
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    base = cv2.resize(cv2.addWeighted(grey, 0.6, image, 0.4, 0), size, interpolation=cv2.INTER_CUBIC)
    smooth = np.clip(cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), 0.0, 1.0)
    colours = cv2.applyColorMap((255 * smooth).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = 0.85 * np.sqrt(smooth)[..., None]
    return (base * (1 - weight) + colours * weight).astype(np.uint8)


def demonstration_pictures(episode: Path, topic: str, camera: str, folder: Path,
                           shares: Sequence[float] = (0.05, 0.45, 0.7, 0.95)) -> list[str]:
    """Frames of an annotated episode with its boxes, and their maps below: demonstration_0 ... .jpg; the captions."""
    annotation = read_annotation(episode).camera(camera)
    with open_bag(episode) as bag:
        frames = [(stamp, image) for stamp, _, image in read_images(bag, topic)]
    index = {stamp: i for i, stamp in enumerate(annotation.stamps_ns.tolist())}
    frames = [(stamp, image) for stamp, image in frames if stamp in index]
    captions = []
    for number, share in enumerate(shares):
        stamp, image = frames[min(int(share * len(frames)), len(frames) - 1)]
        boxes = {t.name: np.where(t.valid[index[stamp]], t.boxes_px[index[stamp]], np.nan) for t in annotation.objects}
        maps = gaussian_maps(np.stack(list(boxes.values())), image.shape[:2], image.shape[:2],
                             SIGMA_SHARE * image.shape[0])
        picture = np.vstack([draw_boxes(image, boxes), overlay(image, union_map(maps))])
        save_jpeg(folder / f"demonstration_{number}.jpg", picture)
        captions.append(f"{(stamp - frames[0][0]) / 1e9:.1f} s")
    return captions


def observation(image: np.ndarray, state: np.ndarray, camera: str) -> Observation:
    """What a policy sees, from a picture and a joint vector; the time does not matter here."""
    return Observation(1, {camera: image}, {camera: 1}, state, 1)


def own_attention(runner: PolicyRunner, image: np.ndarray, state: np.ndarray) -> np.ndarray | None:
    """The policy file's maps together, (h, w) in [0, 1]; None where the method has none."""
    maps = runner.act(observation(image, state, runner.manifest.cameras[0].name)).attention
    if not maps.any():
        return None
    strongest = maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-12)
    return strongest.max(axis=0)


def sensitivity(runner: PolicyRunner, robot: Robot, image: np.ndarray, state: np.ndarray) -> np.ndarray:
    """(rows, columns): how much a grey patch there changes the action (occlusion, Zeiler & Fergus 2014).

    Each change is a share of what the joint can move in one period, averaged over the chunk and joints.
    """
    camera = runner.manifest.cameras[0].name
    height, width = image.shape[:2]
    patch, stride = round(PATCH_SHARE * height), round(STRIDE_SHARE * height)
    reach = robot.velocity * runner.manifest.dt_s
    base = runner.act(observation(image, state, camera)).positions
    rows = range(0, height, stride)
    columns = range(0, width, stride)
    result = np.zeros((len(rows), len(columns)))
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            covered = image.copy()
            top, left = max(0, y + stride // 2 - patch // 2), max(0, x + stride // 2 - patch // 2)
            covered[top : top + patch, left : left + patch] = GREY
            change = runner.act(observation(covered, state, camera)).positions - base
            result[i, j] = np.mean(np.abs(change) / reach)
    return result


def share_inside(heat: np.ndarray, boxes: Iterable[np.ndarray], frame: tuple[int, int]) -> float:
    """Share of `heat` (rows, columns over the frame (H, W)) that lies in the boxes, widened by half a patch."""
    margin = PATCH_SHARE * frame[0] / 2
    ys = (np.arange(heat.shape[0]) + 0.5) * frame[0] / heat.shape[0]
    xs = (np.arange(heat.shape[1]) + 0.5) * frame[1] / heat.shape[1]
    inside = np.zeros(heat.shape, dtype=bool)
    for box in boxes:
        if np.isfinite(box).all():
            rows = (ys >= box[1] - margin) & (ys <= box[3] + margin)
            columns = (xs >= box[0] - margin) & (xs <= box[2] + margin)
            inside |= rows[:, None] & columns[None, :]
    return float(heat[inside].sum() / max(heat.sum(), 1e-12))


def moments(demonstration: Demonstration, count: int) -> list[int]:
    """Ticks of a scripted run that are spread over it, ends left out."""
    ticks = len(demonstration.states)
    return [round(ticks * (k + 1) / (count + 1)) for k in range(count)]
