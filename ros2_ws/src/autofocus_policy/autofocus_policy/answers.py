"""What a policy node answers, kept as a bag while a recording is played to it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_core.bags import Bag, BagWriter, open_bag
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import stamp_ns
from autofocus_core.names import GUARD_REQUEST_TOPIC
from autofocus_core.schema import Robot

#: Everything that a replay publishes and the robot must not hear is below this.
PREFIX = "/replay"
ANSWERS_TOPIC = PREFIX + GUARD_REQUEST_TOPIC
ANSWERS_TYPE = "trajectory_msgs/msg/JointTrajectory"


class AnswerLog:
    """Writes requests, as they come over the wire, into a bag; one thread. `close` gives their number."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self._writer = BagWriter(folder, replace=True)
        self._writer.add_topic(ANSWERS_TOPIC, ANSWERS_TYPE)
        self._last_ns = 0

    def add(self, raw: bytes, now_ns: int) -> None:
        """One serialised JointTrajectory, received at `now_ns` on the recording's clock."""
        self._last_ns = max(self._last_ns, now_ns)
        self._writer.write(ANSWERS_TOPIC, raw, self._last_ns, None)
        self.count += 1

    def close(self) -> int:
        """Finish the bag."""
        self._writer.close()
        return self.count

    def abort(self) -> None:
        """Leave nothing behind."""
        self._writer.abort()


@dataclass(frozen=True, slots=True)
class Answers:
    """positions: {stamp of the observation: (H, A)}, at least one; latency_ms (N,): from stamp to request; holds: how
    often the node asked to hold, with a request without points."""

    positions: dict[int, np.ndarray]
    latency_ms: np.ndarray
    holds: int


def read_answers(folder: Path, robot: Robot) -> Answers:
    """What a node answered; raises AutofocusError where there is no answer in the folder."""
    positions: dict[int, np.ndarray] = {}
    latency_ms, holds = [], 0
    with open_bag(folder) as bag:
        topic = _topic(bag)
        for message, msg in bag.decoded([topic]):
            if tuple(msg.joint_names) != robot.joint_names:
                raise AutofocusError(f"{folder}: {topic}", f"joints {list(msg.joint_names)}",
                                     str(list(robot.joint_names)), "give the robot YAML that was replayed with")
            if not msg.points:
                holds += 1
                continue
            stamp = stamp_ns(msg.header)
            positions[stamp] = np.array([p.positions for p in msg.points])
            latency_ms.append((message.receive_ns - stamp) / 1e6)
    if not positions:
        raise AutofocusError(f"replay in {folder}", "no answer of the policy", "at least one",
                             "look at the policy node's output: why did it hold?")
    return Answers(positions, np.array(latency_ms), holds)


def _topic(bag: Bag) -> str:
    """Where the answers are: a replay's own topic, or that of a bag recorded beside a shadowed policy."""
    found = [topic for topic, kind in bag.topics.items()
             if topic.endswith(GUARD_REQUEST_TOPIC) and kind == ANSWERS_TYPE]
    if len(found) != 1:
        raise AutofocusError(f"replay in {bag.path}", f"{len(found)} topics of requests among {', '.join(bag.topics)}",
                             f"one, such as {ANSWERS_TOPIC}", "give the folder that launch/replay.launch.py wrote")
    return found[0]
