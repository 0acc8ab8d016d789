"""What has become of the frames of one stream."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: A frame that is published later than that after its stamp is late.
LATE_NS = 100_000_000
RATE_WINDOW_NS = 2_000_000_000


@dataclass(slots=True)
class StreamCount:
    """Counts since the node began. `lost`: numbers that the device has given and that never came; `gaps`: how often.

    `dropped`: came and were left out, for publishing was behind; `unstamped`: came without a time that can be
    trusted; `duplicates`: came twice; `restarts`: the device began to count anew; `late`: see LATE_NS.
    """

    received: int = 0
    published: int = 0
    lost: int = 0
    gaps: int = 0
    dropped: int = 0
    unstamped: int = 0
    duplicates: int = 0
    restarts: int = 0
    late: int = 0
    _number: int | None = None
    _stamps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=256))

    def number(self, number: int) -> bool:
        """Take the device's number of a frame that came; False for one that has come before."""
        self.received += 1
        last, self._number = self._number, number
        if last is None:
            return True
        if number == last:
            self.duplicates += 1
            return False
        if number < last:
            self.restarts += 1
        elif number > last + 1:
            self.lost += number - last - 1
            self.gaps += 1
        return True

    def begin(self) -> None:
        """The stream is started (again): the device may count from anywhere."""
        self._number = None
        self._stamps_ns.clear()

    def stamped(self, stamp_ns: int, now_ns: int) -> None:
        """A frame was given on at `now_ns`."""
        self._stamps_ns.append(stamp_ns)
        if now_ns - stamp_ns > LATE_NS:
            self.late += 1

    def rate_hz(self, now_ns: int) -> float:
        """Rate by stamps over the last two seconds; 0 where there were none."""
        recent = [stamp for stamp in self._stamps_ns if stamp > now_ns - RATE_WINDOW_NS]
        if len(recent) < 2:
            return 0.0
        return 1e9 * (len(recent) - 1) / (recent[-1] - recent[0])
