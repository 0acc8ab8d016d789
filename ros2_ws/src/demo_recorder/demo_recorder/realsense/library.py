"""pyrealsense2, imported when it is needed and not before."""

from __future__ import annotations

from typing import Any

from autofocus_core.errors import AutofocusError


def library() -> Any:
    """The module pyrealsense2; raises AutofocusError where it, or the libusb that it loads, is missing."""
    try:
        import pyrealsense2
    except ImportError as error:
        raise AutofocusError(
            "RealSense: the library pyrealsense2",
            str(error),
            "the Python package pyrealsense2 and the system's libusb-1.0",
            "pip install pyrealsense2; on Debian and Ubuntu also: apt install libusb-1.0-0 (or use realsense-ros)",
        ) from error
    return pyrealsense2
