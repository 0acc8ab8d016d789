"""Which storage files a bag has."""

from __future__ import annotations

from pathlib import Path

from autofocus_core.errors import AutofocusError

STORAGE_SUFFIXES = (".mcap", ".db3")


def storage_files(path: Path, *, allow_empty: bool = False) -> list[Path]:
    """The storage files of a bag; raises AutofocusError where there are none (or, unless allowed, empty ones)."""
    if not path.exists():
        raise AutofocusError(
            f"bag {path}", "does not exist", "a rosbag2 directory, .mcap or .db3 file", "check the path"
        )
    if path.is_file():
        if path.suffix not in STORAGE_SUFFIXES:
            raise AutofocusError(
                f"bag {path}",
                f"a {path.suffix or 'suffixless'} file",
                ", ".join(STORAGE_SUFFIXES),
                "give the bag's directory or storage file",
            )
        files = [path]
    else:
        # Compressed files of `ros2 bag record --compression-mode file` are called NAME.mcap.zstd.
        names = (file for file in path.iterdir() if any(suffix in file.suffixes for suffix in STORAGE_SUFFIXES))
        files = sorted(names, key=lambda file: (len(file.name), file.name))
    if not files:
        raise AutofocusError(
            f"bag {path}",
            "an empty directory" if not any(path.iterdir()) else "no .mcap or .db3 file in it",
            "a rosbag2 directory with its storage file",
            "give the directory of an episode, or record one",
        )
    empty = [file.name for file in files if file.stat().st_size == 0]
    if empty and not allow_empty:
        raise AutofocusError(
            f"bag {path}", f"{', '.join(empty)} has 0 bytes", "a recording with messages", "delete it and record again"
        )
    return files
