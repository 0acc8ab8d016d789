"""What a policy is built for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeadShapes:
    """tokens: L of `width` D numbers each; states: P * A numbers; joints: A; horizon: T."""

    tokens: int
    width: int
    states: int
    joints: int
    horizon: int

    @property
    def context(self) -> int:
        """Numbers that a policy is given altogether."""
        return self.tokens * self.width + self.states
