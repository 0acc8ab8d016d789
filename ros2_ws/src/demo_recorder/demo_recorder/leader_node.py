"""A leader arm leads the robot through the guard: mapped joint by joint, after a slow approach, and never when stale.

    ros2 run demo_recorder leader --ros-args -p robot:=robot.yaml -p teleop:=leader.yaml
"""

from __future__ import annotations

import sys
import time

import numpy as np
from sensor_msgs.msg import JointState, Joy
from std_srvs.srv import Trigger

from demo_recorder.commander_node import SENSOR, CommanderNode, run
from demo_recorder.teleop.deadman import Engagement
from demo_recorder.teleop.following import Following
from demo_recorder.teleop.intake import JointSource
from demo_recorder.teleop.leader_config import load_leader


class LeaderNode(CommanderNode):
    """Node /leader. Services ~/engage and ~/disengage (std_srvs/Trigger)."""

    def __init__(self) -> None:
        super().__init__("leader")
        self.config = load_leader(self.text("teleop", "path of the leader YAML (required)", required=True), self.robot)
        timeout_s = self.config.timeout_ms / 1e3
        jumps = self.config.leader_jumps(self.robot)
        self._leader = JointSource("leader", self.config.leader_joints, timeout_s, jumps)
        self._following = Following(self.robot, self.config)
        self._engagement = Engagement(self.config.deadman)
        self._armed = 0
        self.create_subscription(JointState, self.config.topic, self._on_leader, SENSOR)
        if self._engagement.button is not None:
            self.create_subscription(Joy, self._engagement.button.topic, self._on_joy, 10)
        self.create_service(Trigger, "~/engage", lambda _, answer: self._engage(True, answer))
        self.create_service(Trigger, "~/disengage", lambda _, answer: self._engage(False, answer))
        self.begin(self.config.follower_jumps(self.robot))

    def target(self, now_s: float, dt_s: float) -> tuple[np.ndarray | None, str, dict[str, str]]:
        if self.view.armed != self._armed:  # somebody armed the guard: that is a person who wants it to go on
            self._armed = self.view.armed
            self._following.engage()
        problem = self._engagement.problem(now_s) or self._leader.problem(now_s)
        target = self._following.step(self._leader.positions, problem, self.view, now_s, dt_s)
        return target, self._following.reason, {"phase": self._following.phase.value}

    def refused(self, reason: str) -> None:
        if self.sending:
            self._following.stop(f"{reason}; arm the guard, or engage again, to go on")

    def _on_leader(self, message: JointState) -> None:
        refusal = self.take_joints(self._leader, message)
        if refusal:
            self.get_logger().warning(refusal, throttle_duration_sec=2.0)
            self.refused(refusal)

    def _on_joy(self, message: Joy) -> None:
        if self._engagement.button.on_buttons(message.buttons, time.monotonic()):
            self._following.engage()

    def _engage(self, engaged: bool, answer: Trigger.Response) -> Trigger.Response:
        self._engagement.engage(engaged)
        if engaged:
            self._following.engage()
        answer.success = True
        answer.message = self._engagement.problem(time.monotonic()) or "engaged: it leads as soon as the guard follows"
        return answer


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted."""
    return run(LeaderNode, args)


if __name__ == "__main__":
    sys.exit(main())
