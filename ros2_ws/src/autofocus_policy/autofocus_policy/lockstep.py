"""One policy on one recording, observation by observation: no clock, no threads, the same numbers every time.

The messages of the bag pass, in order of receipt, through the intake, runner and blender of the running node.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.episode import Episode
from autofocus_core.errors import AutofocusError
from autofocus_core.joints import read_joints
from autofocus_core.resample import Observation, StateHistory
from autofocus_core.resample import observations as at_every_image
from autofocus_core.schema import Robot

from autofocus_policy.ensemble import Blender, Blending
from autofocus_policy.frozen import FrozenRule
from autofocus_policy.intake import Intake
from autofocus_policy.runner import AnswerError, Chunk, PolicyRunner

NS = 1_000_000_000
#: Seconds after which a roll-out begins anew from the recording.
ROLLOUT_S = 3.0


class Looker(Protocol):
    """Sees every observation with the policy's own answer to it."""

    def see(self, observation: Observation, chunk: Chunk) -> None:
        """Take what is needed; called in order of time."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a policy asked for in one episode, and what the operator did. N observations, H steps, A joints; rad or m.

    stamps_ns int64 (N,); states (N, A); predicted (N, H, A): row k for k + 1 steps of dt later; action (N, H, A): the
    operator's at these times, NaN where there is none; answered (N, H, A): as predicted, before blending.
    rollout (N, A): where the policy, fed with its own answers, would be at that observation, and started (N,) the
    observation at which that roll-out began; action_now (N, A).
    action_ns (M,), actions (M, A): the recorded actions as they are. latency_ms (N,): of each forward pass.
    counts: what the intake refused or left out. without: what cannot be said of this episode, and why.
    """

    stamps_ns: np.ndarray
    states: np.ndarray
    answered: np.ndarray
    predicted: np.ndarray
    action: np.ndarray
    rollout: np.ndarray
    started: np.ndarray
    action_now: np.ndarray
    action_ns: np.ndarray
    actions: np.ndarray
    latency_ms: np.ndarray
    counts: Counter[str]
    without: dict[str, str]

    @property
    def policy(self) -> np.ndarray:
        """(N, H, A): |predicted - action|."""
        return np.abs(self.predicted - self.action)

    @property
    def still(self) -> np.ndarray:
        """(N, H, A): the same for a policy that stays where the arm is, as a yardstick."""
        return np.abs(self.states[:, None] - self.action)

    @property
    def drift(self) -> np.ndarray:
        """(N, A): |rollout - action| at each observation."""
        return np.abs(self.rollout - self.action_now)

    @property
    def drift_still(self) -> np.ndarray:
        """(N, A): the same for an arm that stays where the roll-out began."""
        return np.abs(self.states[self.started] - self.action_now)

    @property
    def elapsed_s(self) -> np.ndarray:
        """(N,): since the roll-out began."""
        return (self.stamps_ns - self.stamps_ns[self.started]) / NS


def observations(bag: Bag, robot: Robot, intake: Intake, cameras: Sequence[str],
                 offset_s: float = 0.0) -> Iterator[Observation]:
    """The observations that the running node would have made of these messages, had they come when they did, from
    `offset_s` after the recording's start on: which images are taken follows from the first one."""
    names = {robot.camera(name).topic: name for name in cameras}
    first_ns = bag.start_ns + round(offset_s * NS)
    for message, msg in bag.decoded([robot.state.topic, *names]):
        if message.receive_ns < first_ns:
            continue
        if message.topic == robot.state.topic:
            found = intake.state(msg, message.receive_ns)
        else:
            found = intake.image(names[message.topic], msg, message.receive_ns)
        if found is not None:
            yield found


def trace(episode: Episode, runner: PolicyRunner, robot: Robot, *, blending: Blending | None = None,
          rollout_s: float = ROLLOUT_S, looker: Looker | None = None,
          replayed: Mapping[int, np.ndarray] | None = None, offset_s: float = 0.0) -> Trace:
    """Run the policy over an episode without what is trimmed. AutofocusError where that gives no observation,
    AnswerError, with the moment, where the policy gives no usable answer.

    `replayed` {stamp: (H, A)}: take these for the policy's answers, at these observations: what it said elsewhere.
    `offset_s`: leave out what was recorded before, as a replay with start_offset_s does.
    """
    walk = _Walk(runner, robot, blending or Blending(), rollout_s)
    cameras = tuple(c.name for c in runner.manifest.cameras)
    history = StateHistory(runner.manifest.state_history, runner.manifest.dt_s)
    intake = Intake(robot, cameras, runner.manifest.control_rate_hz, frozen=FrozenRule(), history=history)
    with episode.open() as bag:
        bag.require([robot.state.topic, *(robot.camera(name).topic for name in cameras)])
        if replayed is None:
            found = observations(bag, robot, intake, cameras, offset_s)
        else:
            found = (o for o in at_every_image(bag, robot, cameras, history=history)
                     if isinstance(o, Observation) and o.stamp_ns in replayed)
        for observation in found:
            if episode.trim is not None and not episode.trim.start_ns <= observation.stamp_ns <= episode.trim.end_ns:
                continue
            try:
                chunk = walk.take(observation, None if replayed is None else replayed[observation.stamp_ns])
            except AnswerError as e:
                at_s = (observation.stamp_ns - bag.start_ns) / NS
                raise AnswerError(e.where, f"{e.got}, {at_s:.2f} s into {episode.path.name}", e.allowed, e.fix) from e
            if looker is not None:
                looker.see(observation, chunk)
        action_ns, actions, why = _actions(bag, robot)
    if not walk.stamps_ns:
        late = intake.counts["late_frames"]
        why = f"{late} images recorded long after their stamps" if late else "no image with a joint state after it"
        raise AutofocusError(
            f"episode {episode.path}", intake.hold_reason(0) or why, "images and joint states that belong together",
            "leave this episode out, or check its streams with `autofocus episodes`")
    return walk.done(action_ns, actions, intake.counts, {"what the operator did": why} if why else {})


def interpolate(stamps_ns: np.ndarray, values: np.ndarray, at_ns: np.ndarray, timeout_ms: float) -> np.ndarray:
    """Rows (T, A) of `values` (N, A) at `at_ns` (T,), linear; NaN outside the stamps and in gaps above the timeout."""
    if not len(stamps_ns):
        return np.full((len(at_ns), values.shape[1]), np.nan)
    after = np.searchsorted(stamps_ns, at_ns, side="left")
    inside = (at_ns >= stamps_ns[0]) & (at_ns <= stamps_ns[-1])
    after = np.clip(after, 1 if len(stamps_ns) > 1 else 0, len(stamps_ns) - 1)
    gap_ns = stamps_ns[after] - stamps_ns[np.maximum(after - 1, 0)]
    base_ns = stamps_ns[0]  # float64 holds differences of stamps exactly, stamps not
    seconds = [np.interp((at_ns - base_ns).astype(float), (stamps_ns - base_ns).astype(float), column)
               for column in values.T]
    return np.where((inside & (gap_ns <= timeout_ms * 1e6))[:, None], np.stack(seconds, axis=1), np.nan)


def _actions(bag: Bag, robot: Robot) -> tuple[np.ndarray, np.ndarray, str]:
    """The recorded actions, stamps (M,) and values (M, A), and why there are none ("" where there are)."""
    if robot.action.topic in bag.topics:
        stamps_ns, values = read_joints(bag, robot.action.topic, robot)
        if len(stamps_ns):
            return stamps_ns, values, ""
        return np.zeros(0, np.int64), np.zeros((0, len(robot.all_joints))), f"no message on {robot.action.topic}"
    return (np.zeros(0, np.int64), np.zeros((0, len(robot.all_joints))),
            f"no topic {robot.action.topic}, the robot YAML's action.topic; there are {', '.join(sorted(bag.topics))}")


class _Walk:
    """Collects the rows of a Trace."""

    def __init__(self, runner: PolicyRunner, robot: Robot, blending: Blending, rollout_s: float) -> None:
        self.runner, self.robot, self.rollout_ns = runner, robot, round(rollout_s * NS)
        self.blender = Blender(blending, robot.command_timeout_ms / 1e3)
        self.own_blender = Blender(blending, robot.command_timeout_ms / 1e3)
        self.own: Chunk | None = None
        self.own_state = np.zeros(len(robot.all_joints))
        self.own_path: list[tuple[int, np.ndarray]] = []  # of the present roll-out: stamp, joints
        self.ages_ns = StateHistory(runner.manifest.state_history, runner.manifest.dt_s).ages_ns
        self.stamps_ns: list[int] = []
        self.rows: list[tuple[np.ndarray, ...]] = []
        self.started: list[int] = []
        self.latency_ms: list[float] = []

    def take(self, observation: Observation, replayed: np.ndarray | None) -> Chunk:
        """The policy's own answer to an observation, before blending."""
        started_s = time.perf_counter()
        chunk = self.runner.act(observation)
        self.latency_ms.append((time.perf_counter() - started_s) * 1e3)
        predicted = self.blender.add(chunk).positions if replayed is None else replayed
        self._roll_out(observation, chunk)
        self.stamps_ns.append(observation.stamp_ns)
        self.rows.append((observation.state, chunk.positions, predicted, self.own_state))
        return chunk

    def _roll_out(self, observation: Observation, chunk: Chunk) -> None:
        """Where its own answers lead: joints from them, clipped to the limits as the guard would; images as recorded.

        Begins anew from the recorded joints after rollout_s, and where the last answer does not reach this far.
        """
        now_ns, first, own = observation.stamp_ns, self.started[-1] if self.started else 0, self.own
        reached = own is not None and 0 < now_ns - own.stamp_ns <= len(own.positions) * own.dt_s * NS
        if not reached or now_ns - self.stamps_ns[first] > self.rollout_ns:
            self.started.append(len(self.stamps_ns))
            self.own_state = observation.state
            self.own_path = [(now_ns, self.own_state)]
            self.own_blender.reset()
            self.own = self.own_blender.add(chunk)
            return
        self.started.append(first)
        path = np.concatenate([self.own_state[None], self.own.positions])
        at = (now_ns - self.own.stamp_ns) / NS / self.own.dt_s
        self.own_state = np.clip([np.interp(at, np.arange(len(path)), column) for column in path.T],
                                 self.robot.lower, self.robot.upper)
        self.own_path.append((now_ns, self.own_state))
        self.own = self.own_blender.add(self.runner.act(dataclasses.replace(
            observation, state=self.own_state, earlier=self._own_past(observation))))

    def _own_past(self, observation: Observation) -> tuple[np.ndarray, ...]:
        """`earlier` of an observation within a roll-out: where the roll-out was; from before it as recorded."""
        began_ns = self.own_path[0][0]
        since_s = [(stamp - began_ns) / NS for stamp, _ in self.own_path]
        table = np.stack([state for _, state in self.own_path])
        ago = [observation.stamp_ns - age_ns - began_ns for age_ns in self.ages_ns]
        return tuple(recorded if at_ns < 0 else np.array([np.interp(at_ns / NS, since_s, joint) for joint in table.T])
                     for at_ns, recorded in zip(ago, observation.earlier, strict=True))

    def done(self, action_ns: np.ndarray, actions: np.ndarray, counts: Counter[str], without: dict[str, str]) -> Trace:
        states, answered, predicted, rollout = (np.stack(column) for column in zip(*self.rows, strict=True))
        stamps_ns = np.array(self.stamps_ns, dtype=np.int64)
        manifest, timeout_ms = self.runner.manifest, self.robot.action.timeout_ms
        steps_ns = np.round(np.arange(1, manifest.horizon + 1) * manifest.dt_s * NS).astype(np.int64)
        at_ns = (stamps_ns[:, None] + steps_ns).reshape(-1)
        action = interpolate(action_ns, actions, at_ns, timeout_ms).reshape(predicted.shape)
        return Trace(stamps_ns, states, answered, predicted, action, rollout, np.array(self.started),
                     interpolate(action_ns, actions, stamps_ns, timeout_ms), action_ns, actions,
                     np.array(self.latency_ms), counts, without)
