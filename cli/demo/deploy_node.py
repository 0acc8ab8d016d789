"""Drives one cell through rollouts of the policy node that runs in it; prints an event for each.

For every scene: disarm, reset, arm, activate the policy, wait for success or the task's timeout, deactivate.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from autofocus_cli.demo.cell_client_node import CALL_TIMEOUT_S, SETTLE_S, START_TIMEOUT_S, CellClient, emit, run_client
from autofocus_cli.demo.pictures import save_jpeg
from autofocus_core.errors import AutofocusError
from autofocus_core.images import decode_image
from autofocus_core.names import GUARD_STATUS_TOPIC
from autofocus_core.schema import load_robot, load_task
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

POLICY_STATUS_TOPIC = "/policy/status"
#: Frames of a filmstrip, evenly over the rollout, chosen from one kept every FILM_PERIOD_S.
FILM_FRAMES, FILM_PERIOD_S = 6, 0.1
STATUS_QOS = QoSProfile(depth=10)
#: Only for pictures: a lost one does not matter, and the simulator must not wait for us.
FILM_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Deployment(CellClient):
    """Rollouts of the policy node in this client's domain."""

    def __init__(self, task: str, timeout_s: float) -> None:
        super().__init__("demo_deployment")
        self.task, self.timeout_s = task, timeout_s
        self.policy_status: dict[str, str] = {}
        self.guard_counts: Counter[str] = Counter()
        self.node.create_subscription(DiagnosticArray, POLICY_STATUS_TOPIC, self._on_policy, STATUS_QOS)
        self.node.create_subscription(DiagnosticArray, GUARD_STATUS_TOPIC, self._on_guard, STATUS_QOS)

    def _on_policy(self, msg: DiagnosticArray) -> None:
        self.policy_status = {pair.key: pair.value for pair in msg.status[0].values}

    def _on_guard(self, msg: DiagnosticArray) -> None:
        values = {pair.key: pair.value for pair in msg.status[0].values}
        self.guard_counts = Counter({key[len("count."):]: int(value) for key, value in values.items()
                                     if key.startswith("count.")})

    def change_state(self, transition: int, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """A lifecycle transition of the policy node. AutofocusError when it fails."""
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self.call("/policy/change_state", ChangeState, request, timeout_s).success:
            raise AutofocusError("/policy/change_state", f"transition {transition} failed", "a policy file that fits",
                                 "look at the log of the policy node")

    def rollout(self, condition: str, seed: int, film: Film | None) -> dict:
        """One attempt: success, seconds since the policy was activated, what guard and policy counted meanwhile."""
        self.trigger("/command_guard/disarm")
        self.reset_cell(self.task, condition, seed)
        self.rest(SETTLE_S)
        self.trigger_when_ready("/command_guard/arm")
        before = self.guard_counts.copy()
        self.policy_status = {}
        if film is not None:
            film.start(self)
        self.change_state(Transition.TRANSITION_ACTIVATE, START_TIMEOUT_S)  # the node waits 30 s for inputs
        start_s = time.monotonic()
        success = self.spin_until(lambda: self.success, self.timeout_s)
        time_s = time.monotonic() - start_s
        if film is not None:
            film.stop(self)
        self.change_state(Transition.TRANSITION_DEACTIVATE)
        counts = self.guard_counts - before
        return {
            "seed": seed, "success": success, "time_s": round(time_s, 2),
            "holds": counts["holds_request"] + counts["holds_heartbeat"], "faults": counts["faults"],
            "limited": counts["limited_periods"],
            "policy": {key: self.policy_status[key] for key in
                       ("published", "deadline_misses", "holds", "bad_output", "superseded", "latency_histogram",
                        "period_histogram") if key in self.policy_status},
        }


class Film:
    """Pictures of one rollout, chosen afterwards."""

    def __init__(self, topic: str, folder: Path) -> None:
        self.topic, self.folder = topic, folder
        self.frames: list[tuple[float, Image]] = []
        self._subscription = None

    def start(self, client: CellClient) -> None:
        self.frames.clear()
        self._subscription = client.node.create_subscription(Image, self.topic, self._on_image, FILM_QOS)

    def _on_image(self, msg: Image) -> None:
        now_s = time.monotonic()
        if not self.frames or now_s - self.frames[-1][0] >= FILM_PERIOD_S:
            self.frames.append((now_s, msg))

    def stop(self, client: CellClient) -> None:
        client.node.destroy_subscription(self._subscription)

    def save(self) -> list[float]:
        """Write filmstrip_0 ... .jpg; the times of the frames, s since the first one."""
        count = min(FILM_FRAMES, len(self.frames))
        chosen = [round(i * (len(self.frames) - 1) / max(1, count - 1)) for i in range(count)]
        for number, index in enumerate(chosen):
            image = decode_image(self.frames[index][1], "sensor_msgs/msg/Image")
            save_jpeg(self.folder / f"filmstrip_{number}.jpg", image)
        return [round(self.frames[index][0] - self.frames[0][0], 2) for index in chosen]


def drive(client: Deployment, scenes: list[list], film: Film | None) -> None:
    """All scenes [condition, seed] of one policy; the first successful one is filmed."""
    client.change_state(Transition.TRANSITION_CONFIGURE, START_TIMEOUT_S)
    for condition, seed in scenes:
        result = client.rollout(condition, seed, film)
        if film is not None and result["success"] and film.frames:
            result["film_times_s"] = film.save()
            film = None
        emit(event="rollout", condition=condition, **result)


def main() -> int:
    """`python -m autofocus_cli.demo.deploy_node --robot R --task T --scenes '[["lamp", 30000], ...]'`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robot", type=Path, required=True)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--scenes", type=json.loads, required=True, help="JSON list of [condition, seed]")
    parser.add_argument("--film", type=Path, help="folder for pictures of the first success in the last condition")
    args = parser.parse_args()

    def work() -> None:
        robot, task = load_robot(args.robot), load_task(args.task)
        client = Deployment(task.name, task.timeout_s)
        drive(client, args.scenes, Film(robot.cameras[0].topic, args.film) if args.film else None)

    return run_client(work)


if __name__ == "__main__":
    sys.exit(main())
