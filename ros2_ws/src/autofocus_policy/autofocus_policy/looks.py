"""Where a policy looks in an annotated episode, and what really moves it: attention, covered objects, a covering scan.

Attention is what the policy file says of itself, at every observation. Covering asks it without trusting it, at a few
frames: an object is painted over with the colour around it, then equally large pieces of background in the same way,
then a patch slides over the whole picture (occlusion, Zeiler & Fergus 2014). Changes of the action are mean |change| of
a chunk in shares of what the joints can move in one step (velocity limit * dt).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from autofocus_core import looking
from autofocus_core.annotation import Annotation, CameraAnnotation
from autofocus_core.bags import Bag
from autofocus_core.episode import Episode
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import stamp_ns
from autofocus_core.names import SIM_TRUTH_IMAGE_MARKERS_TOPIC
from autofocus_core.resample import Observation
from autofocus_core.review import read_reviewed
from autofocus_core.schema import Robot

from autofocus_policy.runner import Chunk, PolicyRunner

#: Pieces of background as large as the object, for each object and frame.
BACKGROUND = 12
#: Side of the sliding patch, as a share of the image's height; it moves by its own side.
PATCH_SHARE = 1.0 / 6.0
#: The truth of a simulator is not stamped with the images: the nearest within this counts.
NEAR_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Attention:
    """One observation of one camera: see autofocus_core.looking."""

    stamp_ns: int
    camera: str
    share: float
    chance: float
    hit: bool
    kl: float


@dataclass(frozen=True, slots=True)
class Covered:
    """What covering `what` did to the action: kind "object", "distractor" or "background" (equally large as `what`)."""

    stamp_ns: int
    camera: str
    what: str
    kind: str
    change: float


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was examined, for pictures. image uint8 (H, W, 3); boxes {object: (4,)} px of its valid objects;
    distractors the same; attention (h, w) or None; scan (rows, columns): change of the action by the patch there;
    on_objects (rows, columns) bool: the patch overlaps an object."""

    stamp_ns: int
    camera: str
    image: np.ndarray
    boxes: dict[str, np.ndarray]
    distractors: dict[str, np.ndarray]
    attention: np.ndarray | None
    scan: np.ndarray
    on_objects: np.ndarray


@dataclass(slots=True)
class Looks:
    """Everything found in one episode; without: what cannot be said, and why."""

    attention: list[Attention] = field(default_factory=list)
    covered: list[Covered] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    without: dict[str, str] = field(default_factory=dict)


class Examiner:
    """Give it every observation of an episode (`see`), then ask for `looks()`. Holds at most 2 * frames images."""

    def __init__(self, episode: Episode, runner: PolicyRunner, robot: Robot, frames: int) -> None:
        self._runner, self._frames = runner, frames
        self._scale = robot.velocity * runner.manifest.dt_s
        self._cameras = tuple(c.name for c in runner.manifest.cameras)
        self.found = Looks()
        self._annotation = self._read(episode)
        with episode.open() as bag:
            self._truth = _read_truth(bag)
        self._kept: list[tuple[Observation, Chunk]] = []
        self._seen, self._every = 0, 1

    def see(self, observation: Observation, chunk: Chunk) -> None:
        """Attention is measured at once; frames to be covered are kept, evenly over what has been seen."""
        if self._annotation is None:
            return
        for camera in self._cameras:
            self._measure(observation, chunk, camera)
        if self._seen % self._every == 0 and self._frames:
            self._kept.append((observation, chunk))
            if len(self._kept) >= 2 * self._frames:
                self._kept, self._every = self._kept[::2], 2 * self._every
        self._seen += 1

    def looks(self) -> Looks:
        """Cover things in the kept frames; the findings."""
        if self._kept:
            count = min(self._frames, len(self._kept))
            for i in range(count):
                observation, chunk = self._kept[int((i + 0.5) * len(self._kept) / count)]
                for camera in self._cameras:
                    self._cover(observation, chunk, camera)
        return self.found

    def _read(self, episode: Episode) -> Annotation | None:
        if not episode.annotation_path.is_dir():
            self.found.without["where it looks"] = "no annotation: make one with `autofocus annotate`"
            return None
        try:
            return read_reviewed(episode.path)
        except AutofocusError as e:
            self.found.without["where it looks"] = f"{e.where}: {e.got}; {e.fix}"
            return None

    def _boxes(self, observation: Observation, name: str) -> dict[str, np.ndarray] | None:
        """Boxes of the camera's valid objects in this very frame; None where the frame is not annotated."""
        camera = self._camera(name)
        if camera is None:
            return None
        index = int(np.searchsorted(camera.stamps_ns, observation.image_stamps_ns[name]))
        if index == len(camera.stamps_ns) or camera.stamps_ns[index] != observation.image_stamps_ns[name]:
            return None
        return {t.name: t.boxes_px[index].astype(float) for t in camera.objects if t.valid[index]}

    def _camera(self, name: str) -> CameraAnnotation | None:
        found = next((c for c in self._annotation.cameras if c.camera == name), None)
        if found is None:
            self.found.without[f"where it looks in camera {name}"] = "the annotation has no such camera"
        return found

    def _maps(self, chunk: Chunk, name: str) -> np.ndarray | None:
        """(K or 1, h, w) of a camera; None, and why, where the policy gives none that can be understood."""
        count = len(chunk.attention) / len(self._cameras)
        if not chunk.attention.any():
            self.found.without["attention"] = "this method gives no attention maps"
        elif count not in (1, len(self._runner.manifest.objects)):
            self.found.without["attention"] = (f"{len(chunk.attention)} maps for {len(self._cameras)} cameras and "
                                               f"{len(self._runner.manifest.objects)} objects")
        else:
            first = self._cameras.index(name) * int(count)
            return chunk.attention[first : first + int(count)]
        return None

    def _measure(self, observation: Observation, chunk: Chunk, name: str) -> None:
        boxes, maps = self._boxes(observation, name), self._maps(chunk, name)
        if boxes is None or maps is None:
            return
        # By the policy's own list of objects where it has a map for each, else whatever is annotated.
        names = self._runner.manifest.objects if len(maps) > 1 else tuple(boxes)
        table = np.array([boxes.get(each, np.full(4, np.nan)) for each in names]).reshape(-1, 4)
        valid, size = np.isfinite(table).all(axis=1), observation.images[name].shape[:2]
        hit = looking.pointing_hit(maps, table, valid, size)
        if hit is not None:
            self.found.attention.append(Attention(
                observation.stamp_ns, name, looking.attention_share(maps, table, valid, size),
                looking.chance(maps.shape[1:], table, valid, size), hit, looking.kl_to_map(maps, table, valid, size)))

    def _cover(self, observation: Observation, chunk: Chunk, name: str) -> None:
        boxes = self._boxes(observation, name)
        if not boxes:
            return
        image, stamp = observation.images[name], observation.stamp_ns
        boxes = {what: box for what, box in boxes.items() if _inside(box, image)}
        distractors = {what: box for what, box in self._distractors(observation.image_stamps_ns[name]).items()
                       if what not in boxes and _inside(box, image)}
        everything = np.array([*boxes.values(), *distractors.values()]).reshape(-1, 4)

        def change(box: np.ndarray) -> float:
            images = {**observation.images, name: looking.blank(image, box)}
            covered = self._runner.act(dataclasses.replace(observation, images=images))
            return looking.action_change(chunk.positions, covered.positions, self._scale)

        for kind, group in (("object", boxes), ("distractor", distractors)):
            for what, box in group.items():
                self.found.covered.append(Covered(stamp, name, what, kind, change(box)))
                size = (box[2] - box[0], box[3] - box[1])
                for other in looking.background_boxes(size, everything, image.shape[:2], BACKGROUND):
                    self.found.covered.append(Covered(stamp, name, what, "background", change(other)))
        patches = scan_boxes(image.shape[:2])
        scan = np.array([change(box) for box in patches.reshape(-1, 4)]).reshape(patches.shape[:2])
        on = looking.cells_on(np.array(list(boxes.values())).reshape(-1, 4), scan.shape, image.shape[:2])
        maps = self._maps(chunk, name)
        self.found.frames.append(Frame(stamp, name, image, boxes, distractors, None if maps is None else together(maps),
                                       scan, on.any(axis=0)))

    def _distractors(self, at_ns: int) -> dict[str, np.ndarray]:
        """What a simulator says is in the picture and no annotator was asked for."""
        annotated = {t.name for c in self._annotation.cameras for t in c.objects}
        found = {}
        for what, (stamps_ns, boxes) in self._truth.items():
            nearest = int(np.abs(stamps_ns - at_ns).argmin())
            if what not in annotated and abs(stamps_ns[nearest] - at_ns) <= NEAR_NS:
                found[what] = boxes[nearest]
        return found


def together(maps: np.ndarray) -> np.ndarray:
    """Maps (K, h, w) as one picture (h, w) in [0, 1]: each scaled to its own peak, the strongest of them."""
    return (maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-12)).max(axis=0)


def scan_boxes(image_size: tuple[int, int]) -> np.ndarray:
    """Patches (rows, columns, 4) that tile an image (H, W), of about PATCH_SHARE of its height."""
    height, width = image_size
    rows = round(1 / PATCH_SHARE)
    columns = max(1, round(width * rows / height))
    ys, xs = np.linspace(0, height, rows + 1), np.linspace(0, width, columns + 1)
    return np.array([[(xs[j], ys[i], xs[j + 1], ys[i + 1]) for j in range(columns)] for i in range(rows)])


def _inside(box: np.ndarray, image: np.ndarray) -> bool:
    height, width = image.shape[:2]
    return bool(np.isfinite(box).all() and box[0] < width and box[1] < height and box[2] > 0 and box[3] > 0
                and box[2] > box[0] and box[3] > box[1])


def _read_truth(bag: Bag) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{object: (stamps (M,), boxes (M, 4))} of a simulated recording, NaN where it was hidden; {} of any other."""
    if bag.topics.get(SIM_TRUTH_IMAGE_MARKERS_TOPIC) != "visualization_msgs/msg/ImageMarker":
        return {}
    rows: dict[str, list[tuple[int, list[float]]]] = {}
    for _, marker in bag.decoded([SIM_TRUTH_IMAGE_MARKERS_TOPIC]):
        corners = np.array([(p.x, p.y) for p in marker.points])
        box = [*corners.min(axis=0), *corners.max(axis=0)] if len(corners) else [np.nan] * 4
        rows.setdefault(str(marker.ns), []).append((stamp_ns(marker.header), box))
    return {what: (np.array([s for s, _ in found]), np.array([b for _, b in found])) for what, found in rows.items()}
