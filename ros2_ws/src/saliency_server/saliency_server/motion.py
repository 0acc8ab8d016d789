"""What the robot does, in words that fit an arm, out of its joint states alone: no image is looked at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.kinematics import Kinematics
from autofocus_core.schema import Robot
from scipy.ndimage import gaussian_filter1d

from saliency_server.keep import MIN_TRAVEL, Phase, gripper_phases

UNKNOWN = "unknown"  # no joint states at that time
#: A tip slower than this stands still (m/s); without kinematics: joints slower than this share of their limits.
STILL_M_S, STILL_SHARE = 0.015, 0.015
SMOOTH_S = 0.08
MIN_PHASE_S = 0.25  # shorter stretches belong to their neighbours; a gripper's own motion may be shorter
STEEP = 0.6  # vertical share of the tip's motion from which it goes up or down
TURN_S, TURN_COS = 0.3, 0.3  # a turn: directions this long before and after that differ by more than 70 degrees
MAX_AWAY_S = 0.5  # a frame farther than this from any joint state has none
LEAST_TRAVEL_STEP = 0.01  # of the travel seen, per sample: the gripper still moves


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at a frame: "closes", "opens", "stops" or "turns"."""

    frame: int
    what: str


@dataclass(frozen=True, slots=True)
class Motion:
    """phases: cover all frames, named by `answers.PHASES` or UNKNOWN; events: by frame; source: what it was told by,
    "tip" (kinematics), "joints" or "none"; note: why not by the tip."""

    phases: tuple[Phase, ...]
    events: tuple[Event, ...]
    source: str
    note: str = ""

    def at(self, frame: int) -> str:
        """What the robot does at a frame."""
        return next((phase.name for phase in self.phases if phase.first <= frame <= phase.last), UNKNOWN)

    def words(self, frame_s: np.ndarray) -> list[dict[str, object]]:
        """The known phases for a prompt: "phase", "from_s", "to_s" from the first frame on."""
        return [
            {"phase": p.name, "from_s": round(float(frame_s[p.first]), 2), "to_s": round(float(frame_s[p.last]), 2)}
            for p in self.phases if p.name != UNKNOWN
        ]


def tip_path(robot: Robot, joints: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Where the tool was, (M, 3) m, at joint vectors (M, A); None and the reason where nobody can tell."""
    if robot.kinematics is None:
        return None, "the robot YAML has no kinematics"
    try:
        kinematics = Kinematics(robot)
    except AutofocusError as error:
        return None, f"{error.where}: {error.got}"
    return np.array([kinematics.tip_pose(q)[0] for q in joints]).reshape(-1, 3), ""


def read_motion(frame_s: np.ndarray, joints_s: np.ndarray, joints: np.ndarray, robot: Robot) -> Motion:
    """The motion over N frames. frame_s (N,), joints_s (M,): stamps in s, rising; joints (M, A) rad or m.

    A bag without joint states has one phase UNKNOWN.
    """
    if len(joints_s) < 3 or len(frame_s) == 0:
        return Motion((Phase(0, len(frame_s) - 1, UNKNOWN),) if len(frame_s) else (), (), "none", "no joint states")
    tip, note = tip_path(robot, joints)
    path, still = (tip, STILL_M_S) if tip is not None else (joints[:, : len(robot.joints)], STILL_SHARE)
    if tip is None:
        path = path / robot.velocity[: len(robot.joints)]
    velocity = np.gradient(_smooth(path, joints_s), joints_s, axis=0)
    speed = np.linalg.norm(velocity, axis=1)
    moving = speed > still
    gripper = joints[:, -1] if robot.gripper is not None else np.empty(0)
    names = _names(joints_s, path, velocity if tip is not None else None, moving, gripper, robot)
    names = _merge_short(names, joints_s)
    nearest = _nearest(frame_s, joints_s)
    away = np.abs(joints_s[nearest] - frame_s) > MAX_AWAY_S
    of_frames = [UNKNOWN if far else names[i] for i, far in zip(nearest, away, strict=True)]
    events = _events(names, velocity, joints_s, moving)
    at_frames = sorted({(int(_nearest(joints_s[i : i + 1], frame_s)[0]), what) for i, what in events})
    return Motion(
        _phases(of_frames), tuple(Event(frame, what) for frame, what in at_frames),
        "joints" if tip is None else "tip", note,
    )


def _names(
    t_s: np.ndarray, path: np.ndarray, velocity: np.ndarray | None, moving: np.ndarray, gripper: np.ndarray,
    robot: Robot,
) -> list[str]:
    """The word for each joint state. path: of the tip, or of the joints; velocity: the tip's, (M, 3), if known."""
    n = len(t_s)
    names = ["reaching" if moves else "waiting" for moves in moving]
    grips = gripper_phases(t_s, t_s, gripper) if len(gripper) else (Phase(0, n - 1, "steady"),)
    for number, grip in enumerate(grips):
        span = range(grip.first, grip.last + 1)
        if grip.name == "closed" and (number > 0 or _holds(gripper, robot)):
            for i in span:
                names[i] = _carried(velocity[i]) if velocity is not None and moving[i] else names[i]
                names[i] = "carrying" if names[i] == "reaching" else names[i]
        elif grip.name == "open" and number > 0:
            # Away from where it let go is retreating; once it comes nearer to the next grasp it reaches again.
            away = np.linalg.norm(path[grip.first : grip.last + 1] - path[grip.first], axis=1)
            last = int(away.argmax()) if number + 1 < len(grips) else len(away) - 1
            for i in span[: last + 1]:
                names[i] = "retreating" if names[i] == "reaching" else names[i]
    if len(grips) > 1:
        travel = float(np.ptp(gripper))
        for before, after in itertools.pairwise(grips):
            sign = -1.0 if after.name == "closed" else 1.0
            step = sign * np.diff(gripper) / travel > LEAST_TRAVEL_STEP
            first = last = after.first
            while first - 1 > before.first and step[first - 1]:
                first -= 1
            while last < after.last and last < n - 1 and step[last]:
                last += 1
            names[first : last + 1] = ["closing" if sign < 0 else "opening"] * (last + 1 - first)
    return names


def _holds(gripper: np.ndarray, robot: Robot) -> bool:
    """Whether a gripper that is closed from the start has something in it: it is not closed all the way."""
    return bool(gripper[0] > robot.gripper.lower + max(MIN_TRAVEL, 0.05 * (robot.gripper.upper - robot.gripper.lower)))


def _carried(velocity: np.ndarray) -> str:
    """What is done with a held thing, by the tip's velocity (3,) m/s."""
    rise = velocity[2] / max(float(np.linalg.norm(velocity)), 1e-9)
    return "lifting" if rise > STEEP else "placing" if rise < -STEEP else "carrying"


def _merge_short(names: Sequence[str], t_s: np.ndarray) -> list[str]:
    """Stretches shorter than MIN_PHASE_S take the name of a neighbour, the shortest first; a gripper's motion stays."""
    names = list(names)
    while True:
        phases = _phases(names)
        short = [
            (t_s[min(p.last + 1, len(t_s) - 1)] - t_s[p.first], k) for k, p in enumerate(phases)
            if p.name not in ("closing", "opening")
        ]
        short = [(length, k) for length, k in short if length < MIN_PHASE_S]
        if not short or len(phases) == 1:
            return names
        _, k = min(short)
        sides = [phases[j] for j in (k - 1, k + 1) if 0 <= j < len(phases)]
        into = max(sides, key=lambda side: side.last - side.first)
        names[phases[k].first : phases[k].last + 1] = [into.name] * (phases[k].last + 1 - phases[k].first)


def _events(
    names: Sequence[str], velocity: np.ndarray, t_s: np.ndarray, moving: np.ndarray
) -> list[tuple[int, str]]:
    """(joint state, what): where the gripper begins to close or open, where the robot stops, where it turns."""
    what_of = {"closing": "closes", "opening": "opens", "waiting": "stops"}
    phases = _phases(names)
    events = [(p.first, what_of[p.name]) for k, p in enumerate(phases) if p.name in what_of and (
        k > 0 or p.name != "waiting")]
    unit = velocity / np.maximum(np.linalg.norm(velocity, axis=1, keepdims=True), 1e-9)
    before, after = np.searchsorted(t_s, t_s - TURN_S), np.searchsorted(t_s, t_s + TURN_S)
    inside = (t_s - TURN_S >= t_s[0]) & (t_s + TURN_S <= t_s[-1])
    after = np.minimum(after, len(t_s) - 1)
    cosine = np.where(inside & moving[before] & moving[after], (unit[before] * unit[after]).sum(axis=1), 1.0)
    turning = np.flatnonzero(cosine < TURN_COS)
    for group in np.split(turning, np.flatnonzero(np.diff(turning) > 1) + 1):
        if len(group):
            i = int(group[cosine[group].argmin()])
            if all(abs(t_s[i] - t_s[j]) > TURN_S for j, _ in events):
                events.append((i, "turns"))
    return events


def _phases(names: Sequence[str]) -> tuple[Phase, ...]:
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    ends = [*(start - 1 for start in starts[1:]), len(names) - 1]
    return tuple(Phase(a, b, names[a]) for a, b in zip(starts, ends, strict=True))


def _smooth(path: np.ndarray, t_s: np.ndarray) -> np.ndarray:
    period_s = max(float(np.median(np.diff(t_s))), 1e-6)
    return gaussian_filter1d(path, SMOOTH_S / period_s, axis=0, mode="nearest")


def _nearest(wanted_s: np.ndarray, known_s: np.ndarray) -> np.ndarray:
    """Index of the nearest of known_s (M,) to each of wanted_s (N,)."""
    right = np.clip(np.searchsorted(known_s, wanted_s), 1, max(len(known_s) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(known_s) - 1)
    return np.where(np.abs(known_s[left] - wanted_s) <= np.abs(known_s[right] - wanted_s), left, right)
