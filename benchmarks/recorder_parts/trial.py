"""What one recording cost and kept, and which recorders there are."""

from __future__ import annotations

from dataclasses import dataclass

from recorder_parts.audit import Account
from recorder_parts.meters import Copy
from recorder_parts.workloads import Stream

OURS = "autofocus"
#: What these are: peer_node.py.
PEER_STYLES = ("peer", "peer_no_disk", "naive")
STYLES = (OURS, *PEER_STYLES)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one recording cost and kept. `copy`: the same bytes copied by cp (for our own recordings)."""

    style: str
    workload: str
    seconds: float
    cpu_s: float
    publisher_cpu_s: float
    stop_s: float
    memory_total: int
    memory_private: int
    queue_peak: int | None
    accounts: tuple[Account, ...]
    copy: Copy | None

    @property
    def bytes(self) -> int:
        """Payload bytes in the bag."""
        return sum(account.bytes for account in self.accounts)

    @property
    def cpu_s_per_gb(self) -> float:
        """CPU time of the recorder's process for each GB (1e9) recorded, until the stop was answered."""
        return self.cpu_s / self.bytes * 1e9 if self.bytes else float("inf")

    @property
    def rate_mb_s(self) -> float:
        """Payload recorded per second."""
        return self.bytes / self.seconds / 1e6

    @property
    def rate_share(self) -> float:
        """What the slowest publisher achieved of its nominal rate."""
        return min(account.rate_share for account in self.accounts)

    def total(self, field: str, type_: str | None = None, streams: tuple[Stream, ...] = ()) -> int:
        """Sum of a field of the accounts, of the topics of one type."""
        wanted = {stream.topic for stream in streams if stream.type == type_}
        return sum(getattr(a, field) for a in self.accounts if type_ is None or a.topic in wanted)
