"""Whether the ROS clock goes on as it should, judged by the steady one: jumps, and a /clock that stands still."""

from __future__ import annotations

JUMP_NS = 200_000_000
#: A /clock slower than this is a paused one; a busy machine may keep one back for a few hundred milliseconds.
STALL_NS = 500_000_000


class ClockWatch:
    """Give it both clocks whenever something happens, at least some ten times a second."""

    def __init__(self) -> None:
        self._last_ns: tuple[int, int] | None = None
        self._moved_ns = 0  # steady time at which the ROS clock was last seen to have moved

    def reset(self) -> None:
        """Begin anew at the next look: nobody has looked for a while."""
        self._last_ns = None

    def look(self, now_ns: int, steady_ns: int) -> int:
        """By how much, ns, the ROS clock has jumped since the last look; 0 where it went on, fast or slow.

        A step back of any size is a jump, one forward is if it is more than JUMP_NS ahead of the steady clock.
        """
        last, self._last_ns = self._last_ns, (now_ns, steady_ns)
        if last is None or now_ns != last[0]:
            self._moved_ns = steady_ns
        if last is None:
            return 0
        jump_ns = (now_ns - last[0]) - (steady_ns - last[1])
        if now_ns < last[0] or jump_ns > JUMP_NS:
            return jump_ns
        return 0

    def stalled_s(self, steady_ns: int) -> float | None:
        """For how long the ROS clock has stood still, s; None while it moves."""
        silent_ns = steady_ns - self._moved_ns
        return silent_ns * 1e-9 if self._last_ns is not None and silent_ns > STALL_NS else None
