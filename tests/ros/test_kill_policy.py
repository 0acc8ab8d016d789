"""The policy process dies in mid-motion: the guard brings the simulated arm to a hold within 100 ms."""

import os
import signal
import time

import numpy as np
import policy_files as files
import pytest
import torch
from autofocus_core import results
from autofocus_core.names import GUARD_STATUS_TOPIC
from canary import BUSY_MS, Canary
from torch import Tensor

HOLD_MS = 100.0
TRIALS, MOST = 3, 8
SPEED_RAD_S = 0.3
REST_RAD_S = 0.03
COMMAND = "pytest tests/ros/test_kill_policy.py"


class TurnsTheWaist(torch.nn.Module):
    """The waist turns at 0.3 rad/s from wherever it is, the other joints keep the start pose."""

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        steps = torch.arange(1, 9, dtype=torch.float32)[None, :, None]
        turn = torch.zeros(6)
        turn[0] = 0.03
        start = torch.tensor([0.0, -0.6, 0.4, 1.2, 0.0, 0.037])
        start[0] = state[0, 0]
        return start + turn * steps, torch.zeros(state.shape[0], 1, 4, 4)


class Watch:
    """What arrives at the robot's end and what the arm does, on CLOCK_MONOTONIC."""

    def __init__(self, node, wait_until) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import JointState
        from std_srvs.srv import Trigger

        self.node, self.wait_until, self.trigger = node, wait_until, Trigger
        self.commands: list[tuple[float, list[float]]] = []
        self.measured: list[tuple[float, list[float]]] = []
        self.status: dict[str, str] = {}
        robot = files.SIM_ROBOT
        node.create_subscription(JointState, robot.command.topic, self._keep(self.commands), 100)
        node.create_subscription(JointState, robot.state.topic, self._keep(self.measured), 100)
        node.create_subscription(DiagnosticArray, GUARD_STATUS_TOPIC, self._on_status, 10)
        self.clients = {name: node.create_client(Trigger, f"/{name}") for name in
                        ("command_guard/arm", "command_guard/disarm", "sim/reset")}

    @staticmethod
    def _keep(rows):
        return lambda msg: rows.append((time.monotonic(), list(msg.position)))

    def _on_status(self, msg) -> None:
        self.status = {pair.key: pair.value for pair in msg.status[0].values}

    def call(self, name: str):
        client = self.clients[name]
        self.wait_until(client.service_is_ready, 60, name)
        future = client.call_async(self.trigger.Request())
        self.wait_until(future.done, 20, f"an answer of {name}")
        return future.result()

    def arm(self) -> None:
        """Arm as soon as the guard has a fresh joint state."""
        self.wait_until(lambda: self.call("command_guard/arm").success, 20, f"an armed guard; status {self.status}")

    def speed(self, rows) -> float:
        """Of the waist, in rad/s, over the last tenth of a second."""
        last = rows[-10:]
        return abs(last[-1][1][0] - last[0][1][0]) / (last[-1][0] - last[0][0]) if len(last) == 10 else 0.0


def moving_until_s(rows, since_s: float, rest_rad_s: float) -> float:
    """The last time at which any joint moved faster than `rest_rad_s`, in s after `since_s`."""
    times = np.array([t for t, _ in rows])
    positions = np.array([p for _, p in rows])
    moved = np.abs(np.diff(positions, axis=0)).max(axis=1) > max(rest_rad_s * 0.01, 1e-9)
    after = np.flatnonzero(moved & (times[1:] > since_s))
    return float(times[after[-1] + 1] - since_s) if len(after) else 0.0


@pytest.mark.timeout(240)
def test_f18_killing_the_policy_holds_the_simulated_arm(ros_node, spawn, wait_until, tmp_path):
    policy = files.write_policy(tmp_path / "policy.pt", TurnsTheWaist())
    robot = f"robot:={files.SIM_ROBOT_YAML}"
    watch, canary = Watch(ros_node, wait_until), Canary()
    spawn(["python", "-m", "autofocus_sim.node", "--ros-args", "-p", robot])
    spawn(["python", "-m", "command_guard.node", "--ros-args", "-p", robot])
    command_ms, arm_ms = [], []
    for _ in range(MOST):
        watch.call("command_guard/disarm")
        watch.call("sim/reset")
        node = spawn(["python", "-m", "autofocus_policy.node", "--ros-args", "-p", robot, "-p", f"policy:={policy}",
                      "-p", "autostart:=true"])
        watch.arm()

        def under_way() -> bool:
            if watch.status.get("state") == "fault" or watch.status.get("needs_arm") == "True":
                watch.call("command_guard/arm")
            turning = min(watch.speed(watch.commands), watch.speed(watch.measured)) > 0.8 * SPEED_RAD_S
            return watch.status.get("state") == "tracking" and turning

        wait_until(under_way, 60, f"motion; status {watch.status}")
        struck_s = time.monotonic()
        os.kill(node.pid, signal.SIGKILL)
        node.wait()
        wait_until(lambda: watch.status.get("state") in ("holding", "fault"), 10, "a hold")

        def over() -> bool:
            at_rest = watch.speed(watch.commands) == 0.0 and watch.speed(watch.measured) < 1e-3
            return at_rest or watch.status.get("state") == "fault"

        wait_until(over, 10, f"rest; status {watch.status}")
        if watch.status.get("state") == "fault":  # a simulator that the machine did not run for a tenth of a second
            print(f"not counted: {watch.status.get('reason')}")
            continue
        command = moving_until_s(watch.commands, struck_s, 0.0) * 1e3
        arm = moving_until_s(watch.measured, struck_s, REST_RAD_S) * 1e3
        late_ms = canary.worst_ms(struck_s, struck_s + 0.2)
        print(f"command at rest after {command:.0f} ms, arm after {arm:.0f} ms; the machine was {late_ms:.1f} ms late")
        if 0.0 < command <= HOLD_MS or late_ms < BUSY_MS:  # 0: held already, for another reason
            command_ms.append(command)
            arm_ms.append(arm)
        if len(command_ms) == TRIALS:
            break
    else:
        pytest.skip(f"the machine is too busy to time anything: {len(command_ms)} of {MOST} trials ran on time")
    target = f"<= {HOLD_MS:g}, worst of {TRIALS}"
    for name, found in (("command at rest", command_ms), (f"arm slower than {REST_RAD_S} rad/s", arm_ms)):
        worst = max(found)
        results.record("policy_killed", f"F18 kill -9 of the policy node to {name}", round(worst, 1), "ms", target,
                       worst <= HOLD_MS, COMMAND)
    # Figures are the rows above; the test itself leaves room for one stall of a machine that the canary did not see.
    assert np.median(command_ms) <= HOLD_MS and max(command_ms) <= 2 * HOLD_MS, command_ms
