"""F18: the policy process is killed, stopped or hangs inside C in the middle of a simulated lift: the arm holds.

The policy does a real lift: it follows what the scripted demonstrator did in the same scene, by the joint state alone.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np
import policy_files as files
import pytest
import torch
from arm_watch import Watch, moving_until_s
from autofocus_core import results
from autofocus_sim.demos import collect
from canary import BUSY_MS, Canary
from torch import Tensor

HOLD_MS = 100.0
TRIALS, MOST = 2, 8
SEED = 9_900
REST_RAD_S = 0.03
HANG_S = 2
COMMAND = "pytest tests/faults/test_f18_policy_in_a_lift.py"
FAULTS = {"kill -9": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP, "the lock held in C": signal.SIGUSR1}


class Lifts(torch.nn.Module):
    """Goes on from the point of a recorded lift that is nearest to where the arm is."""

    def __init__(self, path: Tensor) -> None:
        super().__init__()
        self.register_buffer("path", path)

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 20.0])
        near = torch.argmin(((self.path - state[0]) * scale).square().sum(1))
        steps = torch.clamp(near + torch.arange(1, 9), max=self.path.shape[0] - 1)
        return self.path[steps][None], torch.zeros(state.shape[0], 1, 4, 4)


@pytest.fixture(scope="module")
def lift() -> np.ndarray:
    """(N, A) joint targets of a successful lift, rad and m, at the control rate."""
    demonstration = collect("lift", "nominal", SEED, render=False)
    assert demonstration.success
    return demonstration.clean_targets


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS)
def test_f18_the_arm_holds_in_the_middle_of_a_lift(ros_node, spawn, wait_until, tmp_path, lift, fault):
    policy = files.write_policy(tmp_path / "policy.pt", Lifts(torch.tensor(lift, dtype=torch.float32)))
    robot = f"robot:={files.SIM_ROBOT_YAML}"
    watch, canary = Watch(ros_node, wait_until), Canary()
    spawn(["python", "-m", "autofocus_sim.node", "--ros-args", "-p", robot, "-p", f"seed:={SEED}"])
    spawn(["python", "-m", "command_guard.node", "--ros-args", "-p", robot])
    hanging = Path(files.__file__).with_name("policy_that_hangs.py")
    node, command_ms, arm_ms = None, [], []
    for _ in range(MOST):
        watch.call("command_guard/disarm")
        watch.call("sim/reset")
        if node is None or node.poll() is not None:
            node = spawn(["python", hanging, str(HANG_S), "--ros-args", "-p", robot, "-p", f"policy:={policy}",
                          "-p", "autostart:=true"])
        armed_s = time.monotonic()
        watch.arm()

        def in_the_middle() -> bool:
            if watch.status.get("state") == "fault" or watch.status.get("needs_arm") == "True":
                watch.call("command_guard/arm")
            away = max(abs(a - b) for a, b in zip(watch.measured[-1][1], lift[0], strict=True))
            fast = min(watch.speed(watch.commands), watch.speed(watch.measured)) > 0.2
            return watch.status.get("state") == "tracking" and fast and away > 0.2

        wait_until(in_the_middle, 60, f"a lift under way; status {watch.status}")
        struck_s = time.monotonic()
        os.kill(node.pid, FAULTS[fault])
        wait_until(lambda: watch.status.get("state") in ("holding", "fault"), 10, "a hold")

        def over() -> bool:
            at_rest = watch.speed(watch.commands) == 0.0 and watch.speed(watch.measured) < 1e-3
            return at_rest or watch.status.get("state") == "fault"

        wait_until(over, 10, f"rest; status {watch.status}")
        if FAULTS[fault] is not signal.SIGUSR1:
            node.kill()
            node.wait()
        if watch.status.get("state") == "fault":  # a simulator that the machine did not run for a tenth of a second
            print(f"not counted: {watch.status.get('reason')}")
            continue
        assert_no_step(watch, max(armed_s, struck_s - 0.5))
        command = moving_until_s(watch.commands, struck_s, 0.0) * 1e3
        arm = moving_until_s(watch.measured, struck_s, REST_RAD_S) * 1e3
        late_ms = canary.worst_ms(struck_s, struck_s + 0.2)
        print(f"command at rest after {command:.0f} ms, arm after {arm:.0f} ms; the machine was {late_ms:.1f} ms late")
        if 0.0 < command <= HOLD_MS or late_ms < BUSY_MS:  # 0: held already, for another reason
            command_ms.append(command)
            arm_ms.append(arm)
            draw(watch, struck_s, fault, command)
        if len(command_ms) == TRIALS:
            break
        if node.poll() is None:  # it hangs, and then goes on: the guard must not listen to it by then
            time.sleep(HANG_S)
            wait_until(lambda: watch.status.get("needs_arm") == "True", 10, "a hold that only a person ends")
    else:
        pytest.skip(f"the machine is too busy to time anything: {len(command_ms)} of {MOST} trials ran on time")
    target = f"<= {HOLD_MS:g}, worst of {TRIALS}"
    for name, found in (("command at rest", command_ms), (f"arm slower than {REST_RAD_S} rad/s", arm_ms)):
        worst = max(found)
        results.record("faults", f"F18 {fault} of the policy in a lift to {name}", round(worst, 1), "ms", target,
                       worst <= HOLD_MS, COMMAND)
    # Figures are the rows above; the test itself leaves room for one stall of a machine that the canary did not see.
    assert np.median(command_ms) <= HOLD_MS and max(command_ms) <= 2 * HOLD_MS, command_ms


def assert_no_step(watch: Watch, since_s: float) -> None:
    """From before the blow until rest, no command differs from the one before by more than a period at full speed."""
    rows = [np.array(p) for t, p in watch.commands if t > since_s]
    steps = np.abs(np.diff(rows, axis=0))
    limit = files.SIM_ROBOT.velocity * 0.01 + 1e-9
    assert (steps <= limit).all(), (steps.max(axis=0), limit)


def draw(watch: Watch, struck_s: float, fault: str, command_ms: float) -> None:
    """The joints around the blow, as a picture beside the figures (of the last trial)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
    for rows, style in ((watch.measured, "-"), (watch.commands, "--")):
        near = [(t - struck_s, p) for t, p in rows if -0.6 < t - struck_s < 0.6]
        times = np.array([t for t, _ in near]) * 1e3
        positions = np.array([p for _, p in near])
        for i, name in enumerate(files.SIM_ROBOT.joint_names[:-1]):
            above.plot(times, positions[:, i], style, color=f"C{i}", lw=1.2, label=name if style == "-" else None)
        if style == "--":
            speed = np.diff(positions[:, :-1], axis=0) / 0.01
            for i in range(speed.shape[1]):
                below.plot(times[1:], speed[:, i], color=f"C{i}", lw=1.2)
    for axes in (above, below):
        axes.axvline(0.0, color="black", lw=1)
        axes.axvline(command_ms, color="grey", lw=1, ls=":")
        axes.grid(alpha=0.3)
    above.set(ylabel="position [rad]", title=f"{fault} of the policy process in a lift at 0 ms: measured (solid), "
              f"commanded (dashed); command at rest after {command_ms:.0f} ms")
    above.title.set_fontsize(9)
    above.legend(ncols=5, fontsize=7, loc="upper left")
    below.set(ylabel="commanded [rad/s]", xlabel="ms after the blow")
    figure.savefig(results.results_dir() / f"policy_in_a_lift_{fault.replace(' ', '_').replace('-', '')}.png", dpi=110)
    pyplot.close(figure)
