"""What reading a damaged bag can raise, and the one error that it becomes."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import apsw  # the SQLite binding that rosbags brings
import yaml
from rosbags.rosbag2 import ReaderError
from rosbags.typesys import TypesysError

from autofocus_core.errors import AutofocusError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

#: What the readers of rosbags let through from damaged files, beside their own error.
READ_ERRORS: tuple[type[Exception], ...] = (
    ReaderError,
    TypesysError,
    OSError,
    struct.error,
    zlib.error,
    ZstdError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    MemoryError,
    yaml.YAMLError,
    apsw.Error,
)


class DamagedBagError(AutofocusError):
    """A bag that is not whole: with allow_truncated=True it gives what is."""


def damaged(path: Path, error: Exception) -> DamagedBagError:
    """The error for people that one of READ_ERRORS becomes."""
    return DamagedBagError(
        f"bag {path}",
        f"truncated or damaged: {error}",
        "a complete rosbag2 recording",
        "read what is whole of it with allow_truncated=True (flagged lossy), or record it again",
    )
