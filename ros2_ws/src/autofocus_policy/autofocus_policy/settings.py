"""The policy node's parameters: type, default, range, unit and meaning of each, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from autofocus_policy.ensemble import ACT_COEFFICIENT, MAX_COEFFICIENT, MAX_FADE_S, MODES, Blending
from autofocus_policy.frozen import FrozenRule
from autofocus_policy.intake import MAX_AHEAD_S


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row. lowest, highest: None where there is no range; the default's type is the parameter's (None: a float that
    may be left out)."""

    default: object
    unit: str
    meaning: str
    lowest: float | None = None
    highest: float | None = None


TABLE = {
    "robot": Parameter("", "path", "robot YAML; required"),
    "policy": Parameter("", "path", "policy file written by `autofocus export`; required"),
    "control_rate_hz": Parameter(None, "Hz", "inferences per second, at most the first camera's rate; unset: "
                                 "control_rate_hz of the robot", 0.5, 200.0),
    "device": Parameter("cpu", "", "where the network runs: cpu | cuda | cuda:N"),
    "threads": Parameter(1, "1", "threads of one inference on the CPU", 1, 64),
    "blending": Parameter("none", "", f"how a new chunk takes over: {' | '.join(MODES)} (newest wins, ACT's temporal "
                          "ensemble, a fade from the path being followed)"),
    "blend_coefficient": Parameter(ACT_COEFFICIENT, "1", "with blending ensemble: m; above 0 trusts older chunks more, "
                                   "below 0 newer ones", -MAX_COEFFICIENT, MAX_COEFFICIENT),
    "blend_fade_s": Parameter(0.2, "s", "with blending crossfade: length of the fade", 0.01, MAX_FADE_S),
    "max_stamp_ahead_s": Parameter(MAX_AHEAD_S, "s", "inputs stamped farther ahead of their receipt are refused: "
                                   "clocks are out of step", 0.0, 1.0),
    "frozen_after_s": Parameter(FrozenRule().after_s, "s", "a camera that repeats the same bytes for this long while "
                                "a joint moves by frozen_motion_rad is not believed; 0: never looked at", 0.0, 60.0),
    "frozen_motion_rad": Parameter(FrozenRule().motion_rad, "rad", "see frozen_after_s; 0: same bytes are enough, "
                                   "right for real cameras, whose noise makes every frame different", 0.0, 3.2),
    "activate_within_s": Parameter(30.0, "s", "activation waits so long for every input to be fresh and then fails; 0, "
                                   "and under use_sim_time: it does not wait, and holds until they are", 0.0, 600.0),
    "overlay_hz": Parameter(0.0, "Hz", "rate of ~/overlay/compressed, the image with the policy's attention over it; "
                            "0: off, at no cost", 0.0, 30.0),
    "autostart": Parameter(False, "", "configure and activate at start; without it a lifecycle manager does. If that "
                           "fails the process exits"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of TABLE's parameters, checked."""

    robot: str
    policy: str
    control_rate_hz: float | None
    device: str
    threads: int
    blending: str
    blend_coefficient: float
    blend_fade_s: float
    max_stamp_ahead_s: float
    frozen_after_s: float
    frozen_motion_rad: float
    activate_within_s: float
    overlay_hz: float
    autostart: bool

    def blend(self) -> Blending:
        """How chunks are blended; raises AutofocusError for an unknown mode."""
        return Blending(self.blending, self.blend_coefficient, self.blend_fade_s)

    def frozen_rule(self) -> FrozenRule | None:
        """When a camera is not believed; None: always."""
        return FrozenRule(self.frozen_after_s, self.frozen_motion_rad) if self.frozen_after_s > 0.0 else None
