"""F09: a publisher is stopped for two seconds (SIGSTOP): nobody takes leave, messages just do not come."""

import signal
import time

from autofocus_core import results
from autofocus_core.episode import load_episode
from recorder_cell import IMAGE, INTENT, STATE, Publisher, Recorder, slack, write_robot

COMMAND = "pytest tests/faults/test_f09_stalled_publisher.py"
STALL_S = 2.0


def test_f09_a_stalled_publisher_is_seen_at_once(spawn, ros_node, wait_until, tmp_path):
    """On ~/status within two periods and 100 ms; in the sidecar as a gap with its start and end."""
    publisher = Publisher(
        spawn, "--joints", f"{STATE}:100", "--joints", f"{INTENT}:10", "--image", f"{IMAGE}:320x240:30"
    )
    recorder = Recorder(spawn, ros_node, wait_until, tmp_path / "out", robot=write_robot(tmp_path / "robot.yaml"))
    recorder.ready().start()
    time.sleep(1.0)
    periods_s = {STATE: 0.01, IMAGE: 1 / 30, INTENT: 0.1}
    wait_until(lambda: all(recorder.status[topic]["level"] == "0" for topic in periods_s), 30, "all streams well")
    stopped_s, stopped_ns = time.monotonic(), time.time_ns()
    publisher.process.send_signal(signal.SIGSTOP)

    def seen_s(topic):
        """When the first status came that says so."""
        statuses = list(recorder.statuses)
        return next((at for at, s in statuses if at > stopped_s and "silent" in s[topic]["message"]), None)

    wait_until(lambda: all(seen_s(topic) for topic in periods_s), 20, "all streams silent")
    time.sleep(max(0.0, stopped_s + STALL_S - time.monotonic()))
    publisher.process.send_signal(signal.SIGCONT)
    continued_ns = time.time_ns()
    recorder.wait_for_status(lambda s: all(s[topic]["level"] in ("0", "1") for topic in periods_s), 20, "all back")
    time.sleep(0.5)
    meta = load_episode(recorder.stop()).meta
    for topic, period_s in periods_s.items():
        took_ms, limit_ms = (seen_s(topic) - stopped_s) * 1000, (2 * period_s + 0.1) * 1000
        name = f"F09 stalled publisher: seen, at {1 / period_s:.0f} Hz"
        results.record("faults", name, took_ms, "ms", f"<= {limit_ms:.0f}", took_ms <= limit_ms, COMMAND)
        assert took_ms < limit_ms + 100 * slack()
        # Where the machine itself stood still, there may be an earlier one.
        gaps = [e for e in meta.events if e.kind == "gap" and e.topic == topic and e.end_ns > stopped_ns]
        # After SIGCONT the middleware may need another second or two to find its feet: nothing comes then, truly.
        gap = min(gaps, key=lambda gap: gap.start_ns)
        assert stopped_ns - 2e9 * period_s - 5e7 * slack() < gap.start_ns < stopped_ns + 5e7 * slack()
        assert continued_ns - 5e7 < gap.end_ns < continued_ns + 5e9
        assert meta.streams[topic].gaps >= 1
    assert meta.verdict.grade == "bad"
    assert meta.stop_reason == "requested"
