"""ROS messages of the policy node, made from plain values."""

from __future__ import annotations

from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from autofocus_policy.monitor import Monitor
from autofocus_policy.runner import Chunk


def to_request(chunk: Chunk, joint_names: tuple[str, ...]) -> JointTrajectory:
    """Header stamp: the observation's; point k holds (k + 1) * dt_s later."""
    points = []
    for k, row in enumerate(chunk.positions):
        sec, nanosec = divmod(round((k + 1) * chunk.dt_s * 1e9), 1_000_000_000)
        points.append(JointTrajectoryPoint(positions=row.tolist(),
                                           time_from_start=Duration(sec=sec, nanosec=nanosec)))
    return JointTrajectory(header=Header(stamp=to_time(chunk.stamp_ns)), joint_names=list(joint_names), points=points)


def diagnostics(monitor: Monitor, counts: dict[str, int], ages_ms: dict[str, float], stamp: Time) -> DiagnosticArray:
    """One status named "policy": OK while running, WARN while holding, ERROR after refused output."""
    level = DiagnosticStatus.OK if monitor.hold is None else DiagnosticStatus.WARN
    if monitor.error:
        level = DiagnosticStatus.ERROR
    values = monitor.values() | {key: str(value) for key, value in sorted(counts.items())}
    values |= {f"age_ms/{name}": f"{age_ms:.1f}" for name, age_ms in ages_ms.items()}
    status = DiagnosticStatus(level=level, name="policy", message=monitor.summary(),
                              values=[KeyValue(key=key, value=value) for key, value in values.items()])
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])


def to_time(stamp_ns: int) -> Time:
    """A stamp in ns as a message."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)
