"""How fast an episode is annotated beside decoding its images alone, and how large the annotation is.

All in CPU time of one thread, which other work on the machine changes little; the two are measured in turn.

    python benchmarks/saliency.py              # about 4 minutes on an idle machine; writes results/saliency.json
    python benchmarks/saliency.py --repeat 2 --dry-run
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from autofocus_core import episode as core_episode
from autofocus_core.annotation import annotation_path, write_annotation
from autofocus_core.bags import BagWriter, open_bag
from autofocus_core.images import COMPRESSED_IMAGE, decode_image, encode_jpeg
from autofocus_core.messages import message_class, serialize
from autofocus_core.results import record
from autofocus_core.schema import Robot, Task, load_robot, load_task
from autofocus_sim.cell import Cell
from saliency_server import pipeline
from saliency_server.detect import ColourTermDetector
from saliency_server.frames import read_frames
from saliency_server.options import Options
from simulated_episodes import write_episode
from tqdm import tqdm

CONFIG = Path(__file__).parents[1] / "ros2_ws/src/autofocus_sim/config"
EPISODES = (("lift", "mate", 9800), ("place", "unseen", 9801))
WIDTH_PX, HEIGHT_PX = 640, 480
TIMES_DECODING = 3.0
REFERENCE_BYTES = 1.2e6  # of a frame: the reference's pickled float maps
SHARE_OF_REFERENCE = 0.01
COMMAND = "python benchmarks/saliency.py"
WAYS = {"every frame": Options(), "keyframes 0.5 s apart": Options(keyframe_s=0.5)}


def main() -> int:
    """Measure, print, record; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7, help="measurements of each, in turn (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print only, write no results")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    robot = _sized(load_robot(CONFIG / "sim_arm.yaml"))
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        recordings = make_recordings(Path(folder), robot)
        measured = measure(recordings, robot, args.repeat)
    print(f"load before {load_before:.2f}, after {os.getloadavg()[0]:.2f}")
    met = True
    for (kind, way), runs in measured.items():
        ratios = sorted((run.annotate_s - run.detect_s) / run.decode_s for run in runs)
        print(f"{kind}, {way}: {len(runs)} runs, {ratios[0]:.2f} to {ratios[-1]:.2f} times decoding")
        for name, value, unit, target, ok in rows(kind, way, runs):
            met &= ok
            print(f"{'ok ' if ok else 'NOT'} {name}: {value:.4g} {unit} (target {target})")
            if not args.dry_run:
                record("saliency", name, round(value, 4), unit, target, ok, COMMAND)
    return 0 if met else 1


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """A bag of one demonstration, and what it is of."""

    path: Path
    task: Task
    frames: int


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Seconds of CPU over all recordings of a kind: decoding their images alone, annotating and writing, the detector's
    part of that, hashing; frames; bytes of the annotations."""

    decode_s: float
    annotate_s: float
    detect_s: float
    hash_s: float
    frames: int
    bytes: int


def make_recordings(folder: Path, robot: Robot) -> dict[str, list[Recording]]:
    """The demonstrations twice: with raw images, and the same as JPEG."""
    cell = Cell(image_size=(HEIGHT_PX, WIDTH_PX))
    kinds: dict[str, list[Recording]] = {"raw": [], "JPEG": []}
    for name, condition, seed in tqdm(EPISODES, desc="recording", unit="episode"):
        task = load_task(CONFIG / f"{name}.yaml")
        raw = folder / f"raw_{name}"
        written = write_episode(raw, robot, cell, name, condition, seed, exact=False)
        jpeg = _as_jpeg(raw, folder / f"jpeg_{name}", robot.cameras[0].topic)
        for kind, path in (("raw", raw), ("JPEG", jpeg)):
            kinds[kind].append(Recording(path, task, len(written.stamps_ns)))
    return kinds


def measure(recordings: dict[str, list[Recording]], robot: Robot, repeat: int) -> dict[tuple[str, str], list[Run]]:
    """Each kind and way `repeat` times and once to warm up, in turn, so that a machine that slows down does so for
    all."""
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    order = [(kind, way) for kind in recordings for way in WAYS]
    for number in tqdm(range(repeat + 1), desc="measuring", unit="round"):
        for kind, way in order if number % 2 else order[::-1]:
            run = measured_run(recordings[kind], robot, WAYS[way])
            if number:
                found[kind, way].append(run)
    return found


def measured_run(recordings: list[Recording], robot: Robot, options: Options) -> Run:
    """All recordings of a kind once."""
    decode_s = annotate_s = detect_s = hash_s = 0.0
    size = 0
    for recording in recordings:
        decode_s += _decoded(recording, robot)
        watch = _Watch()
        core_episode._hash_files.cache_clear()
        begun_s = time.process_time()
        core_episode.content_hash(recording.path)  # what says which recording it was: each of its bytes
        hash_s += time.process_time() - begun_s
        with watch:
            begun_s = time.process_time()
            annotation = pipeline.annotate_episode(recording.path, robot, recording.task, options)
            write_annotation(annotation, recording.path)
            annotate_s += time.process_time() - begun_s
        detect_s += watch.spent_s
        size += sum(file.stat().st_size for file in annotation_path(recording.path).iterdir())
    return Run(decode_s, annotate_s, detect_s, hash_s, sum(each.frames for each in recordings), size)


def rows(kind: str, way: str, runs: list[Run]) -> list[tuple[str, float, str, str, bool]]:
    """(name, value, unit, target, whether it is met): medians over the runs, ratios within each run."""
    def median(of) -> float:
        return float(np.median([of(run) for run in runs]))

    own = f"640x480 {kind}, detector at {way}"
    # Optical flow on every frame stands in for a detector that costs a hundred times as much.
    aimed = way == "every frame"
    out = median(lambda r: (r.annotate_s - r.detect_s) / r.decode_s)
    per_frame = median(lambda r: r.bytes / r.frames)
    found = [
        (f"{own}: reading, tracking, filter and maps, in times of decoding alone", out, "x",
         f"<= {TIMES_DECODING:g}" if aimed else "(to compare)", out <= TIMES_DECODING or not aimed),
        (f"{own}: the same with the detector", median(lambda r: r.annotate_s / r.decode_s), "x", "measured", True),
        (f"{own}: the same with the detector and the recording's hash",
         median(lambda r: (r.annotate_s + r.hash_s) / r.decode_s), "x", "measured", True),
        (f"{own}: frames per second without the detector", median(lambda r: r.frames / (r.annotate_s - r.detect_s)),
         "1/s", "measured", True),
        (f"{own}: frames per second with the detector", median(lambda r: r.frames / r.annotate_s), "1/s", "measured",
         True),
        (f"640x480 {kind}: frames per second of decoding alone", median(lambda r: r.frames / r.decode_s), "1/s",
         "measured", True),
        (f"{own}: annotation, bytes per frame", per_frame, "bytes", f"<= {SHARE_OF_REFERENCE * REFERENCE_BYTES:.0f}",
         per_frame <= SHARE_OF_REFERENCE * REFERENCE_BYTES),
    ]  # fmt: skip
    return found


class _Watch:
    """Counts the seconds in the detector while it is entered."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    def __enter__(self) -> None:
        self._detect = ColourTermDetector.detect

        def timed(detector, images, objects):
            begun_s = time.process_time()
            try:
                return self._detect(detector, images, objects)
            finally:
                self.spent_s += time.process_time() - begun_s

        ColourTermDetector.detect = timed

    def __exit__(self, *exc: object) -> None:
        ColourTermDetector.detect = self._detect


def _decoded(recording: Recording, robot: Robot) -> float:
    begun_s = time.process_time()
    with open_bag(recording.path) as bag:
        frames = sum(frame.image is not None for frame in read_frames(bag, robot.cameras[0]))
    spent_s = time.process_time() - begun_s
    assert frames == recording.frames
    return spent_s


def _as_jpeg(raw: Path, path: Path, topic: str) -> Path:
    """The recording with its images as a camera driver compresses them."""
    with open_bag(raw) as bag, BagWriter(path) as writer:
        for name, kind in bag.topics.items():
            writer.add_topic(name, COMPRESSED_IMAGE if name == topic else kind)
        for message in bag.messages():
            data = message.raw
            if message.topic == topic:
                msg = bag.decode(message.type, message.raw)
                jpeg = np.frombuffer(encode_jpeg(decode_image(msg, message.type), 90), np.uint8)
                compressed = message_class(COMPRESSED_IMAGE)(header=msg.header, format="jpeg", data=jpeg)
                data = serialize(compressed, COMPRESSED_IMAGE)
            writer.write(message.topic, data, message.receive_ns, bag.header_ns(message))
    return path


def _sized(robot: Robot) -> Robot:
    camera = dataclasses.replace(robot.cameras[0], width_px=WIDTH_PX, height_px=HEIGHT_PX)
    return dataclasses.replace(robot, cameras=(camera,))


if __name__ == "__main__":
    sys.exit(main())
