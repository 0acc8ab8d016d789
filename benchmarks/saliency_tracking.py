"""Tracking and asking against the simulator's truth, with detectors that miss: this project's rule and the reference's.

    python benchmarks/saliency_tracking.py            # about ten minutes; writes results/saliency_tracking.json
    python benchmarks/saliency_tracking.py --seeds 1 --dry-run

Both rules get the same detections, made from the true boxes of 48 simulated demonstrations (see
tracking_parts/detector.py), and are counted the same way (tracking_parts/measure.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from autofocus_core.results import record, results_dir
from autofocus_sim.cell import Cell
from saliency_server.follow import InstanceTrack, follow
from saliency_server.keep import gripper_phases
from saliency_server.phrases import parse_phrase
from saliency_server.triggers import triggers
from saliency_server.values import FrameDetections
from tqdm import tqdm
from tracking_parts.chart import draw
from tracking_parts.detector import Fault, degrade
from tracking_parts.episodes import Episode, simulate
from tracking_parts.measure import Boxes, Tally, add_episode
from tracking_parts.reference_rule import follow_greedily

PART = "saliency_tracking"
CONDITIONS = ("nominal", "unseen", "mate", "lamp")
TASKS = ("lift", "place")
#: 9600 and 9601 are the seeds this tracker and its thresholds were developed on; none of these has been looked at.
FIRST_SEED = 9_700
KEYFRAME_S = 0.5
GREY_PX = (160, 120)
CHECKS = 1  # questions of an episode beside those at triggers: whether the task's description fits it
#: setting -> the detector's faults, and whether it looks at keyframes only
SETTINGS: dict[str, tuple[Fault, float | None]] = {
    **{f"recall {recall:.2f}": (Fault(recall), None) for recall in (1.0, 0.95, 0.90, 0.80)},
    "recall 0.90, misses in bursts of 4 frames": (Fault(0.90, burst=4.0), None),
    "recall 0.90, no false alarms": (Fault(0.90, wild=0.0, alarms=0.0, double=0.0), None),
    "recall 1.00, keyframes 0.5 s apart": (Fault(1.0), KEYFRAME_S),
    "recall 0.90, keyframes 0.5 s apart": (Fault(0.90), KEYFRAME_S),
}
TARGETED = "recall 0.90"
#: figure -> unit, and the target of this tracker at TARGETED
FIGURES = {
    "coverage": ("share of frames in view", ">= 0.98"),
    "centre error p50": ("px", ""),
    "centre error p95": ("px", ""),
    "id switches per 10 episodes": ("switches", "<= 1"),
    "questions per episode": ("questions", "<= 4"),
    "false boxes": ("share of boxes", ""),
    "frames detected": ("share of frames", ""),
}
MIN_RATIO = 20.0


class TruthLooker:
    """What `follow` asks, answered from an episode's degraded truth and its pictures."""

    def __init__(self, episode: Episode, detections: list[FrameDetections]) -> None:
        self.stamps_s, self.size_px = episode.stamps_s, episode.size_px
        self._detections = detections
        self._grey = [cv2.resize(grey, GREY_PX, interpolation=cv2.INTER_AREA) for grey in episode.grey]
        self.asked: set[int] = set()

    def detect(self, frames: object) -> list[FrameDetections]:
        frames = list(frames)
        self.asked.update(frames)
        return [self._detections[i] for i in frames]

    def grey(self, frame: int) -> np.ndarray:
        return self._grey[frame]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, record, draw; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6, help="episodes per task and condition (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print only: no results, no chart")
    parser.add_argument("--chart", type=Path, default=Path("docs/images/saliency_tracking.png"))
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    tallies = {(setting, rule): Tally() for setting in SETTINGS for rule in ("this tracker", "reference rule")}
    cell, frames, spent_s = Cell(), 0, 0.0
    with tqdm(total=len(CONDITIONS) * len(TASKS) * args.seeds, unit="episode") as bar:
        for condition in CONDITIONS:
            for task in TASKS:
                for seed in range(args.first_seed, args.first_seed + args.seeds):
                    episode = simulate(cell, task, condition, seed, pictures=True)
                    for setting, (fault, keyframe_s) in SETTINGS.items():
                        detections = degrade(episode, fault)
                        begun_s = time.process_time()
                        add_ours(tallies[setting, "this tracker"], episode, detections, keyframe_s)
                        if setting == TARGETED:
                            spent_s += time.process_time() - begun_s
                            frames += len(episode.stamps_s)
                        if keyframe_s is None:
                            add_reference(tallies[setting, "reference rule"], episode, detections)
                    bar.update()
    command = "python benchmarks/saliency_tracking.py" + (f" --seeds {args.seeds}" if args.seeds != 6 else "")
    met = report(tallies, frames / spent_s, command, args.dry_run)
    if not args.dry_run:
        draw(results_dir(), args.chart)
    return 0 if met else 1


def add_ours(tally: Tally, episode: Episode, detections: list[FrameDetections], keyframe_s: float | None) -> None:
    """This tracker and its triggers on one episode."""
    looker = TruthLooker(episode, detections)
    tracks = follow(looker, [parse_phrase(name) for name in episode.phrases], keyframe_s=keyframe_s)
    phases = gripper_phases(episode.stamps_s, episode.stamps_s, episode.gripper_m)
    asked = triggers(phases, [each.track for each in tracks], episode.stamps_s)
    add_episode(tally, episode, [_boxes(episode, tracks, i) for i in range(len(episode.stamps_s))],
                len(asked) + CHECKS)
    tally.looked += len(looker.asked)
    tally.frames += len(episode.stamps_s)


def _boxes(episode: Episode, tracks: tuple[InstanceTrack, ...], i: int) -> Boxes:
    return {
        (each.phrase, each.instance): (episode.phrases[each.phrase], each.track.boxes_px[i])
        for each in tracks if each.track.valid[i]
    }


def add_reference(tally: Tally, episode: Episode, detections: list[FrameDetections]) -> None:
    """The reference's rule on one episode."""
    followed = follow_greedily(detections)
    names = episode.phrases
    frames = [{key: (names[label], box) for key, (label, box) in ids.items()} for ids in followed.ids]
    add_episode(tally, episode, frames, len(followed.questions))
    tally.looked += len(episode.stamps_s)
    tally.frames += len(episode.stamps_s)


def report(tallies: dict[tuple[str, str], Tally], frames_per_s: float, command: str, dry_run: bool) -> bool:
    """Print and record every figure; whether all targets are met."""
    met = True

    def row(name: str, value: float, unit: str, target: str, ok: bool) -> None:
        nonlocal met
        met &= ok
        print(f"{'ok ' if ok else 'NOT'} {name}: {value:.4g} {unit}" + (f" (target {target})" if target else ""))
        if not dry_run:
            record(PART, name, round(value, 4), unit, target or "measured", ok, command)

    for (setting, rule), tally in tallies.items():
        if not tally.episodes:
            continue
        values = (tally.coverage, tally.error(50), tally.error(95), tally.switches_per_ten, tally.questions_each,
                  tally.false_boxes / max(tally.boxes, 1), tally.looked / max(tally.frames, 1))
        for (figure, (unit, target)), value in zip(FIGURES.items(), values, strict=True):
            target = target if (setting, rule) == (TARGETED, "this tracker") else ""
            sign, limit = target.split() if target else ("", "0")
            ok = not target or (value >= float(limit) if sign == ">=" else value <= float(limit))
            row(f"{setting}: {rule}: {figure}", value, unit, target, ok)
    for setting in (TARGETED, "recall 0.90, no false alarms"):
        ratio = tallies[setting, "reference rule"].questions_each / tallies[setting, "this tracker"].questions_each
        row(f"{setting}: questions of the reference rule for each of ours", ratio, "times", f">= {MIN_RATIO:g}",
            ratio >= MIN_RATIO)
    row("episodes", tallies[TARGETED, "this tracker"].episodes, "episodes", ">= 40",
        tallies[TARGETED, "this tracker"].episodes >= 40)
    row(f"{TARGETED}: tracking and triggers, one core", frames_per_s, "frames/s of CPU time", "", True)
    return met


if __name__ == "__main__":
    sys.exit(main())
