"""Finding the part of an episode in which the arm moves. The bag is never changed: the sidecar gets a mark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.episode import Episode, load_episode, update_meta
from autofocus_core.episode_meta import Trim
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import JOINT_STATE, read_joints
from autofocus_core.messages import stamp_ns
from autofocus_core.schema import Robot

NS_PER_S = 1_000_000_000
#: Velocities are taken over this time, so that encoder noise of one message is no motion; of slow streams, over as
#: many messages.
VELOCITY_STEP_S = 0.1
VELOCITY_STEP_MESSAGES = 4
GRID_S = 0.02
#: A joint that moves faster than this share of its velocity limit is moving.
VELOCITY_SHARE = 0.02
#: Without limits: faster than this share of the joint at its fastest, and than this share of the fastest joint.
FAST_SHARE = 0.05
FASTEST_JOINT_SHARE = 0.02
#: Slower than this many sigma of its own noise a joint is never moving.
NOISE_SIGMAS = 5.0
#: A smallest change that is there so often is a step of the encoder.
STEP_SEEN = 5
MARGIN_S = 0.5
#: Less than this is not worth cutting off.
LEAST_S = 0.1
BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Motion:
    """When the arm moves: stamps of the first and the last moment, and of the whole recording of its joints."""

    first_ns: int
    last_ns: int
    start_ns: int
    end_ns: int


def trim_idle(
    path: str | Path, robot: Robot | None, margin_s: float = MARGIN_S, share: float = VELOCITY_SHARE
) -> Episode:
    """Mark the idle head and tail of an episode, keeping `margin_s` on each side of the motion.

    Nothing idle: its mark is taken away. Raises AutofocusError where no joint moves, or there are no joint states.
    """
    episode = load_episode(path, robot)
    if episode.meta is None:
        return update_meta(path)  # raises: a foreign bag has no sidecar to mark
    with episode.open() as bag:
        motion = find_motion(bag, robot, share)
    margin_ns = round(margin_s * NS_PER_S)
    head_ns = motion.first_ns - margin_ns - motion.start_ns
    tail_ns = motion.end_ns - motion.last_ns - margin_ns
    least_ns = LEAST_S * NS_PER_S
    if head_ns < least_ns and tail_ns < least_ns:
        return update_meta(path, trim=None)
    begin_ns = motion.start_ns + (head_ns if head_ns >= least_ns else 0)
    end_ns = motion.end_ns - (tail_ns if tail_ns >= least_ns else 0)
    reason = f"idle: {_seconds(begin_ns - motion.start_ns)} before, {_seconds(motion.end_ns - end_ns)} after the motion"
    return update_meta(path, trim=Trim(begin_ns, end_ns, reason))


def trim_by_hand(path: str | Path, from_s: float | None, to_s: float | None) -> Episode:
    """Mark the part from `from_s` to `to_s`, in seconds since the start of the recording (None: its own start or end;
    negative: before its end). Raises AutofocusError where nothing would be left."""
    episode = load_episode(path)
    if episode.meta is None:
        return update_meta(path)  # raises
    start_ns, end_ns = episode.meta.start_ns, episode.meta.end_ns

    def at(value_s: float | None, default_ns: int) -> int:
        if value_s is None:
            return default_ns
        return (end_ns if value_s < 0 else start_ns) + round(value_s * NS_PER_S)

    begin_ns, stop_ns = at(from_s, start_ns), at(to_s, end_ns)
    if not start_ns <= begin_ns < stop_ns <= end_ns:
        raise AutofocusError(
            f"episode {path}: trim",
            f"from {(begin_ns - start_ns) / NS_PER_S:g} s to {(stop_ns - start_ns) / NS_PER_S:g} s",
            f"a part of its 0 to {(end_ns - start_ns) / NS_PER_S:g} s",
            "give --from and --to in seconds since the start (negative: before the end)",
        )
    return update_meta(path, trim=Trim(begin_ns, stop_ns, BY_HAND))


def clear_trim(path: str | Path) -> Episode:
    """Take the mark away: all of the episode counts again."""
    return update_meta(path, trim=None)


def find_motion(bag: Bag, robot: Robot | None, share: float = VELOCITY_SHARE) -> Motion:
    """When any joint is faster than `share` of its limit, or (without `robot`) stands out of its own noise.

    Raises AutofocusError where no joint moves, or there are no joint states.
    """
    if robot is not None:
        bag.require([robot.state.topic])
        stamps_ns, positions = read_joints(bag, robot.state.topic, robot)
    else:
        stamps_ns, positions = _read_all_joints(bag)
    if len(stamps_ns) < 2:
        raise AutofocusError(
            f"bag {bag.path}: trim",
            f"{len(stamps_ns)} joint states",
            "joint states over some time",
            "trim it by hand: --from and --to",
        )
    times_s = (stamps_ns - stamps_ns[0]) / NS_PER_S
    over_s = max(VELOCITY_STEP_S, VELOCITY_STEP_MESSAGES * float(np.median(np.diff(times_s))))
    grid_s, speeds = joint_speeds(times_s, positions, over_s)
    noise = noise_limits(positions, over_s)
    limits = np.maximum(share * robot.velocity, noise) if robot is not None else estimated_limits(speeds, noise)
    moving = np.flatnonzero((speeds > limits).any(axis=1))
    if not len(moving):
        raise AutofocusError(
            f"bag {bag.path}: trim",
            f"no joint moves in {times_s[-1]:.1f} s",
            "an episode in which the arm moves",
            "leave it out (outcome failure), lower --speed, or trim by hand: --from and --to",
        )
    first_s, last_s = grid_s[moving[0]], grid_s[moving[-1]]
    start_ns = int(stamps_ns[0])
    return Motion(
        start_ns + round(first_s * NS_PER_S), start_ns + round(last_s * NS_PER_S), start_ns, int(stamps_ns[-1])
    )


def joint_speeds(times_s: np.ndarray, positions: np.ndarray, over_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(times (M,), speeds (M, A) >= 0) on a grid of 20 ms, each over the `over_s` around it, from times (N,) rising
    from 0 and positions (N, A). Before the first and after the last message joints count as standing still."""
    grid_s = np.arange(0.0, times_s[-1] + GRID_S, GRID_S)
    half_s = over_s / 2
    columns = [np.interp(grid_s + half_s, times_s, c) - np.interp(grid_s - half_s, times_s, c) for c in positions.T]
    return grid_s, np.abs(np.stack(columns, axis=1)) / over_s


def noise_limits(positions: np.ndarray, over_s: float) -> np.ndarray:
    """(A,) speeds over `over_s` that the noise of positions (N, A) alone can show: five sigma, and a flicker of one
    encoder step.

    The noise is the median of second differences, which slow motion does not enter; the encoder's step is the
    smallest change that is there at all.
    """
    if len(positions) < 3:
        return np.zeros(positions.shape[1])
    second = np.diff(positions, n=2, axis=0)
    sigma = 1.4826 * np.median(np.abs(second - np.median(second, axis=0)), axis=0) / np.sqrt(6.0)
    changes = np.abs(np.diff(positions, axis=0))
    step = np.where(changes > 1e-9, changes, np.inf).min(axis=0)
    often = (np.abs(changes - step) < 0.01 * step).sum(axis=0) >= STEP_SEEN
    step = np.where(often & np.isfinite(step), step, 0.0)
    return np.maximum(NOISE_SIGMAS * np.sqrt(2.0) * sigma, 1.5 * step) / over_s


def estimated_limits(speeds: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """(A,) speeds above which a joint moves, of speeds (M, A) and those of their noise (A,): for unknown robots."""
    fast = [column[column > limit] for column, limit in zip(speeds.T, noise, strict=True)]
    fastest = np.array([np.quantile(column, 0.98) if len(column) else 0.0 for column in fast])
    least = max(FASTEST_JOINT_SHARE * fastest.max(initial=0.0), 1e-6)
    return np.maximum(np.maximum(noise, FAST_SHARE * fastest), least)


def _read_all_joints(bag: Bag) -> tuple[np.ndarray, np.ndarray]:
    """Joint states of the bag's (first) JointState topic with the most messages, by the names in its first message."""
    topics = [topic for topic, type in bag.topics.items() if type == JOINT_STATE and bag.counts[topic]]
    if not topics:
        raise AutofocusError(
            f"bag {bag.path}: trim",
            "no joint states in it",
            f"a topic of {JOINT_STATE} with messages",
            "trim it by hand: --from and --to",
        )
    topic = "/joint_states" if "/joint_states" in topics else max(topics, key=lambda name: bag.counts[name])
    names: list[str] = []
    rows: dict[int, list[float]] = {}
    for _, msg in bag.decoded([topic]):
        found = dict(zip(msg.name, msg.position))
        names = names or list(found)
        if all(name in found for name in names) and stamp_ns(msg.header) > 0:
            rows.setdefault(stamp_ns(msg.header), [found[name] for name in names])
    stamps = np.array(sorted(rows), dtype=np.int64)
    positions = np.array([rows[stamp] for stamp in stamps.tolist()]).reshape(len(stamps), len(names))
    finite = np.isfinite(positions).all(axis=1)
    return stamps[finite], positions[finite]


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / NS_PER_S:.1f} s"

