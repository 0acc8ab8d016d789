"""Memory for images: kept and used again, not given back to the system and asked for anew with each one."""

from __future__ import annotations

import contextlib
import ctypes
import sys

#: glibc's numbers of its settings.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
#: The most that glibc takes; a 4K colour image fits.
_KEEP_BLOCKS_BYTES = 32 << 20
_KEEP_FREE_BYTES = 128 << 20


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks of the size of images; False where there is no glibc. Once, before threads start.

    By default each message of some 100 KB and more gets pages of its own from the system, zeroed and mapped one by one,
    and gives them back a moment later: at 1280x720 and 60 Hz that alone took a quarter of a core.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEEP_BLOCKS_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEEP_FREE_BYTES))


def give_back_memory() -> None:
    """Give the system what was kept, after a recording: it may be a while until the next one."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
