"""The guard's state machine: what arrives, when it arrives, and what may therefore be commanded. No ROS, no torch.

    DISARMED --arm--> HOLDING --fresh request and heartbeat--> TRACKING --late, dead, a hold asked for--> HOLDING
    HOLDING, TRACKING --something is wrong--> FAULT --arm, by a person--> HOLDING      any state --estop--> FAULT
    HOLDING, TRACKING, FAULT --disarm--> braking --at rest--> DISARMED

DISARMED commands nothing. HOLDING and FAULT brake from the last command to rest and stay there. docs/safety.md has the
reasons. Every `now_s` is one monotonic clock, in s; it must not go back. Vectors are (A,), rad or m, in joint order.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence

import numpy as np
from autofocus_core.schema import Robot

from command_guard.chunk import RefusedError, Request, check_request
from command_guard.inputs import NEVER, Senders, StateReader, outside_limits
from command_guard.motion import Motion
from command_guard.settings import Settings

#: A guard that was not run for so many periods has messages waiting: it takes them before it judges their age.
STALL_PERIODS = 3


class State(enum.Enum):
    """What the guard is doing."""

    DISARMED = "disarmed"
    HOLDING = "holding"
    TRACKING = "tracking"
    FAULT = "fault"


class GuardCore:
    """Feed it what arrives with the time of arrival, and call `step` once per period for the command."""

    def __init__(
        self, robot: Robot, rate_hz: float | None = None, settings: Settings | None = None, deadman: bool = False
    ) -> None:
        """`rate_hz` overrides the one in `settings`; `deadman`: requests are followed only while a person holds one.

        Raises AutofocusError where a setting is out of range.
        """
        settings = settings or Settings()
        self.settings = settings
        self.period_s = 1.0 / (settings.rate_hz if rate_hz is None else Settings(rate_hz=rate_hz).rate_hz)
        self.robot = robot
        self.state = State.DISARMED
        self.reason = "not armed yet"
        self.counts: Counter[str] = Counter()
        self._motion = Motion(robot, settings, self.period_s, self.counts)
        self._senders = Senders()
        self._reader = StateReader(robot.joint_names)
        self._names = robot.joint_names
        self._lower, self._upper = robot.lower, robot.upper
        self._state_timeout_s = robot.state.timeout_ms / 1e3
        self._request_timeout_s = robot.command_timeout_ms / 1e3
        self._heartbeat_timeout_s = robot.heartbeat_timeout_ms / 1e3
        self._measured: list[float] = []
        self._measured_s = NEVER
        self._heartbeat_s = NEVER
        self._stalled = False
        self._needs_arm = False  # HOLDING, but only a person may end it
        self._hold_since_s: float | None = None  # when a watchdog began this hold
        self._silent_at_rest = False  # after disarm(), or when the robot's state is unknown
        self._foreign: str | None = None
        self._estop_pressed = False
        self._needs_deadman = deadman
        self._deadman_s = NEVER  # when it was last seen held

    # ---- what arrives

    def on_state(
        self, names: Sequence[str], positions: Sequence[float], now_s: float, sender: object = None
    ) -> str | None:
        """Measured joint positions by name (more joints than the robot's are ignored). Returns why they are refused.

        Two senders of whole joint states at a time are a fault: a bag played into the live graph, or a second driver.
        """
        try:
            measured = self._reader.read(names, positions)
            if self._senders.second("state", sender, now_s, self._state_timeout_s):
                raise RefusedError("second", "two publishers of joint states: where the arm is cannot be told", True)
        except RefusedError as refused:
            self.counts[f"state_refused_{refused.kind}"] += 1
            if refused.fatal:
                self.fault(str(refused))
            return str(refused)
        self._measured, self._measured_s = measured, now_s
        self.counts["states"] += 1
        return None

    def on_heartbeat(self, now_s: float, sender: object = None) -> None:
        """The commander is alive. `sender` tells commanders apart: anything comparable, None where it is not known."""
        if self._senders.second("heartbeat", sender, now_s, self._heartbeat_timeout_s):
            self.counts["heartbeats_second"] += 1
            self.fault("two commanders send heartbeats: it could not be told that one died")
            return
        self._heartbeat_s = now_s
        self.counts["heartbeats"] += 1

    def on_request(self, request: Request, now_s: float, sender: object = None) -> str | None:
        """A commander's request. Returns None, or why it is refused. A broken one (NaN, wrong unit) is a fault, and
        so are requests of two senders at a time. One without points asks to hold: that is never refused for the state
        the guard is in, and ends by the next request, as a late commander's hold does."""
        try:
            if self._senders.second("request", sender, now_s, self._request_timeout_s):
                raise RefusedError("second", "a second commander sends requests", fatal=True)
            limits = (self._names, self._lower, self._upper)
            ages = (self.settings.max_stamp_age_s, self.settings.max_stamp_ahead_s)
            times, positions = check_request(request, *limits, now_s, *ages)
            if not len(times):
                self._hold_as_asked(now_s)
                return None
            if self.state in (State.DISARMED, State.FAULT):
                raise RefusedError(self.state.value, f"{self.state.value} ({self.reason}): call ~/arm")
            if self._needs_arm:
                raise RefusedError("needs_arm", f"{self.reason}: call ~/arm")
        except RefusedError as refused:
            self.counts[f"request_refused_{refused.kind}"] += 1
            if refused.fatal:
                self.fault(f"request: {refused}")
            return str(refused)
        self._motion.take(now_s, times, positions)
        self.counts["requests"] += 1
        return None

    def on_foreign_publisher(self, who: str | None) -> None:
        """Who else publishes robot commands, None for nobody: seen from outside, told here at every check."""
        self._foreign = who
        if who is not None:
            self.fault(f"another publisher of robot commands: {who}")

    def on_deadman(self, held: bool, now_s: float) -> None:
        """A person holds the deadman switch, or has let go of it. Silence counts as having let go."""
        self._deadman_s = now_s if held else NEVER

    def on_estop_signal(self, pressed: bool) -> None:
        """The level of an e-stop button: pressed is an e-stop, and nothing arms before it is released."""
        self._estop_pressed = pressed
        if pressed and self.state is not State.FAULT:
            self._enter_fault("e-stop is pressed")

    # ---- what a person asks for

    def arm(self, now_s: float) -> str | None:
        """Begin, go on, or clear a fault. Returns None, or why not.

        From DISARMED the command starts at the measured pose. Where commands are still going out it goes on from the
        last *command*, so nothing steps, unless the arm is not there any more: then from where it is.
        """
        refusal = self._why_not_arm(now_s)
        if refusal is not None:
            self.counts["arm_refused"] += 1
            return refusal
        if self.state is not State.TRACKING:
            if self._must_anchor():
                self._motion.anchor(self._measured, now_s)
            self._enter_holding("armed: waiting for a request and a heartbeat", needs_arm=False)
        self.counts["armed"] += 1
        return None

    def disarm(self) -> None:
        """Brake, then command nothing. Also clears a fault."""
        if self._motion.at_rest:
            self._enter_disarmed()
        else:
            self._enter_holding("disarming: braking", needs_arm=True)
            self._silent_at_rest = True

    def hold(self) -> None:
        """Brake and stay until a person arms again: the commander is not asked."""
        if self.state in (State.HOLDING, State.TRACKING) and not self.disarming:
            self._enter_holding("hold was asked for", needs_arm=True)

    def estop(self) -> None:
        """Brake and stay, latched as a fault, from any state. A stop in software: it cuts no power."""
        self._enter_fault("e-stop was asked for")

    # ---- once per period

    def step(self, now_s: float) -> np.ndarray | None:
        """The command (A,) for this period, or None where nothing may be commanded."""
        if not self._motion.started:
            return None
        self._watch(now_s)
        self._motion.at_s = now_s
        if self.state is State.TRACKING:
            wrong = self._motion.follow(now_s)
            if wrong is not None:
                self.fault(wrong)
        elif self._silent_at_rest and self._motion.at_rest:
            if self.disarming:
                self._enter_disarmed()
            return None
        else:
            self._motion.brake()
        return self._motion.command

    def fault(self, reason: str) -> None:
        """Brake and stay until a person arms again. The first reason is kept; while disarmed nothing can go wrong."""
        if self.state in (State.HOLDING, State.TRACKING):
            self._enter_fault(reason)

    # ---- inside

    def _watch(self, now_s: float) -> None:
        """Let the watchdogs change the state.

        Not in the first period after this process was stalled: what waited for it is taken in after this. It never
        happens twice in a row, so a guard that is always slow still judges every second period.
        """
        stalled = now_s - self._motion.at_s > STALL_PERIODS * self.period_s and not self._stalled
        self._stalled = stalled
        if stalled:
            self.counts["stalls"] += 1
            return
        ages_s = self.ages_s(now_s)
        if ages_s["state"] > self._state_timeout_s and not self._silent_at_rest:
            # A robot whose driver died may be moved by hand; an old command must not pull it back when it returns.
            self._silent_at_rest = True
            self.fault(f"joint state is {ages_s['state'] * 1e3:.0f} ms old")
        if self.state is State.FAULT:
            return
        alive = ages_s["heartbeat"] <= self._heartbeat_timeout_s
        fresh = ages_s["request"] <= self._request_timeout_s
        held = not self._needs_deadman or ages_s["deadman"] <= self.settings.deadman_timeout_s
        if self.state is State.TRACKING:
            if not held:
                self._enter_holding("deadman switch let go: hold it to go on", needs_arm=False)
                self.counts["holds_deadman"] += 1
            elif not alive:
                reason = f"commander is dead: no heartbeat for {ages_s['heartbeat'] * 1e3:.0f} ms"
                self._hold_softly(reason, "heartbeat", now_s)
            elif not fresh:
                reason = f"commander is late: no request for {ages_s['request'] * 1e3:.0f} ms"
                self._hold_softly(reason, "request", now_s)
        elif not self._needs_arm:
            if self._hold_since_s is not None and now_s - self._hold_since_s > self.settings.resume_within_s:
                self._needs_arm = True
                self.reason += f"; silent for more than {self.settings.resume_within_s:g} s: call ~/arm to go on"
            elif alive and fresh and held:
                self._join()

    def _join(self) -> None:
        """HOLDING to TRACKING."""
        wrong = self._motion.why_not_join()
        if wrong is not None:
            self.fault(wrong)
            return
        self.state, self.reason = State.TRACKING, "following requests"
        self.counts["ramps"] += self.ramping
        self._hold_since_s = None

    def _hold_as_asked(self, now_s: float) -> None:
        """The commander knows that it has nothing fresh to ask for: sooner than a watchdog could."""
        self.counts["requests_to_hold"] += 1
        if self.state is State.TRACKING:
            self._hold_softly("the commander asked to hold", "asked", now_s)
        else:
            self._motion.drop()  # a request that waited for a heartbeat

    def _hold_softly(self, reason: str, of: str, now_s: float) -> None:
        """A hold that fresh requests end, if they come soon enough."""
        self._enter_holding(reason, needs_arm=False)
        self._hold_since_s = now_s
        self.counts[f"holds_{of}"] += 1

    def _enter_holding(self, reason: str, needs_arm: bool) -> None:
        self.state, self.reason, self._needs_arm = State.HOLDING, reason, needs_arm
        self._motion.drop()
        self._hold_since_s = None
        self._silent_at_rest = False

    def ages_s(self, now_s: float) -> dict[str, float]:
        """Age in s of the newest joint state, heartbeat and accepted request (inf: none yet, or dropped), and of the
        deadman switch where there is one."""
        ages_s = {"state": now_s - self._measured_s, "heartbeat": now_s - self._heartbeat_s}
        ages_s["request"] = now_s - self._motion.received_s
        if self._needs_deadman:
            ages_s["deadman"] = now_s - self._deadman_s
        return ages_s

    @property
    def ramping(self) -> bool:
        """Whether a far first request is being approached, slowly."""
        return self._motion.ramping

    @property
    def disarming(self) -> bool:
        """Whether it brakes in order to disarm."""
        return self.state is State.HOLDING and self._silent_at_rest

    @property
    def needs_arm(self) -> bool:
        """Whether only `arm`, called by a person, makes it follow requests (again)."""
        return self.state in (State.DISARMED, State.FAULT) or self._needs_arm

    def _enter_fault(self, reason: str) -> None:
        self.state, self.reason = State.FAULT, reason
        self._motion.drop()
        self.counts["faults"] += 1

    def _enter_disarmed(self) -> None:
        self._enter_holding("disarmed", needs_arm=False)
        self.state = State.DISARMED
        self._motion.clear()

    def _must_anchor(self) -> bool:
        """Whether `arm` begins at the measured pose rather than at the last command."""
        if not self._motion.started:
            return True
        away = self._motion.distance(self._measured) > self.robot.start.ramp_distance_rad
        if self._silent_at_rest:  # disarming, or nothing was known of the robot: it may have been moved
            return away or self._motion.at_rest
        return away and self._motion.at_rest  # in motion a distance is only the lag of the servos

    def _why_not_arm(self, now_s: float) -> str | None:
        age_s = now_s - self._measured_s
        if age_s > self._state_timeout_s:
            seen = "was never received" if self._measured_s == NEVER else f"is {age_s * 1e3:.0f} ms old"
            return f"joint state {seen}; allowed {self._state_timeout_s * 1e3:g} ms: is {self.robot.state.topic} alive?"
        if self._senders.several("state", now_s, self._state_timeout_s):
            return f"two publishers of joint states on {self.robot.state.topic}: stop one of them"
        if self._estop_pressed:
            return "the e-stop is pressed: release it first"
        if self._foreign is not None:
            return f"another publisher of robot commands: {self._foreign}; stop it first"
        return outside_limits(self._names, self._measured, self._lower, self._upper)
