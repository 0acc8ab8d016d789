"""One run each: processes of their own over real DDS, started, measured at the robot's end, ended by id."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import autofocus_sim
import numpy as np
import yaml
from autofocus_cli.demo.processes import ProcessGroup, own_domain, ros_environment
from autofocus_core.errors import AutofocusError

PARTS = Path(__file__).parent
START_S = 100.0
BURN = "while True: pass"
#: A command that arrives this soon after a request was computed before the guard had it.
GUARD_TAKES_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Cell:
    """What runs share. scratch: folder for files and logs; robot: the YAML, with this control rate; seconds: length of
    a run; ahead: what is measured runs before all ordinary processes, for a machine that cannot be had alone."""

    scratch: Path
    robot: Path
    seconds: float
    control_rate_hz: float
    ahead: bool = False


def write_robot(path: Path, control_rate_hz: float, state_rate_hz: float) -> Path:
    """The simulated arm's YAML with a 640x480 camera at 30 Hz, as a RealSense gives it, and other rates."""
    config = Path(autofocus_sim.__file__).resolve().parent.parent / "config/sim_arm.yaml"
    raw = yaml.safe_load(config.read_text())
    raw["cameras"][0] |= {"width_px": 640, "height_px": 480}
    raw["control_rate_hz"] = control_rate_hz
    raw["state"]["rate_hz"] = state_rate_hz
    raw.pop("kinematics", None)
    for camera in raw["cameras"]:
        camera.pop("extrinsics", None)
    path.write_text(yaml.safe_dump(raw))
    return path


def bare(cell: Cell, policy: Path, joints: int) -> np.ndarray:
    """Durations in ms of the TorchScript file alone."""
    argv = [sys.executable, PARTS / "bare.py", policy, 480, 640, joints, cell.control_rate_hz, cell.seconds]
    argv = ["chrt", "-r", "1", *argv] if cell.ahead else argv
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AutofocusError("bare forward", done.stderr[-2000:], "exit 0", "read the error above")
    return np.array(json.loads(done.stdout))


def node(cell: Cell, policy: Path, guard_rate_hz: float = 100.0, loaded: int = 0) -> dict:
    """Camera, policy node, guard and robot; `loaded`: as many processes that only burn a core beside them."""
    with own_domain() as domain, _group(cell, "node", domain) as group:
        _world(group, cell)
        group.spawn("guard", _ros("command_guard.node", robot=cell.robot, rate_hz=float(guard_rate_hz)))
        group.spawn("policy", _ros("autofocus_policy.node", robot=cell.robot, policy=policy, autostart="true"),
                    realtime=cell.ahead)
        for number in range(loaded):
            group.spawn(f"burner_{number}", ["python", "-c", BURN])
        return _robot_end(group, cell, "guard")


def peer(cell: Cell, encoder: str, size_px: int, executors: str = "single") -> dict:
    """Camera, peer-style node and robot; `executors`: single or multi."""
    with own_domain() as domain, _group(cell, "peer", domain) as group:
        _world(group, cell)
        group.spawn("peer", ["python", PARTS / "peer_node.py", cell.robot, encoder, size_px, executors],
                    realtime=cell.ahead)
        return _robot_end(group, cell, "direct")


def lerobot(python: Path, size_px: int, rate_hz: float, seconds: float) -> dict[str, np.ndarray]:
    """LeRobot's loop by the interpreter that has it: {"loop_ms", "bare_ms"}."""
    argv = [python, PARTS / "lerobot_loop.py", size_px, rate_hz, seconds]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AutofocusError(f"lerobot in {python}", done.stderr[-2000:], "lerobot 0.4.4", "pip install lerobot==0.4.4")
    return {key: np.array(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}


def latencies_ms(found: dict, of: str) -> np.ndarray:
    """Stamp of the observation to arrival at the robot's end, ms: of "requests"; or of "commands" (the first command
    after a request by the guard, or with the observation's own stamp by a peer). AutofocusError where there are none.
    """
    if not found[of]:
        raise AutofocusError(f"{of} at the robot's end", "none", "at least one", "see the logs")
    rows = np.array(found[of], dtype=np.int64).reshape(-1, 2)
    if of == "requests" or not found["requests"]:
        arrived, stamps = rows[:, 0], rows[:, 1]
        return (arrived - stamps) * 1e-6
    requests = np.array(found["requests"], dtype=np.int64)
    at = np.searchsorted(rows[:, 0], requests[:, 0] + GUARD_TAKES_NS)
    inside = at < len(rows)
    return (rows[at[inside], 0] - requests[inside, 1]) * 1e-6


def periods_ms(found: dict) -> np.ndarray:
    """Times between commands at the robot's end, ms; AutofocusError where there are none."""
    if len(found["commands"]) < 2:
        raise AutofocusError("commands at the robot's end", str(len(found["commands"])), "many", "see the logs")
    return np.diff(np.array(found["commands"], dtype=np.int64)[:, 0]) * 1e-6


def _group(cell: Cell, name: str, domain: int) -> ProcessGroup:
    return ProcessGroup(cell.scratch / name, ros_environment(domain, cell.scratch / name))


def _world(group: ProcessGroup, cell: Cell) -> None:
    group.spawn("camera", ["python", PARTS / "camera_node.py", cell.robot], realtime=True)


def _robot_end(group: ProcessGroup, cell: Cell, way: str) -> dict:
    out = cell.scratch / "found.json"
    out.unlink(missing_ok=True)
    robot = group.spawn("robot", ["python", PARTS / "robot_node.py", cell.robot, out, cell.seconds, way], realtime=True)
    group.wait(robot, START_S + cell.seconds)
    return json.loads(out.read_text())


def _ros(module: str, **parameters: object) -> list[str]:
    argv = ["python", "-m", module, "--ros-args"]
    for name, value in parameters.items():
        argv += ["-p", f"{name}:={value}"]
    return argv
