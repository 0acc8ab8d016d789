"""Room for images on their way: Fast DDS keeps half a megabyte by default, which is a fifth of a 1280x720 image."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from autofocus_core.dds import BUILTIN_TRANSPORTS, DECIDED

#: 4 MB for each socket, and twice that in shared memory.
LARGE_BUFFERS = "DEFAULT?sockets_size=4MB"


def ask_for_large_buffers(environment: MutableMapping[str, str] = os.environ) -> None:
    """Ask the middleware for buffers that hold an image, unless somebody has decided otherwise; before rclpy.init.

    For what is received over a network. On one machine the room is the publisher's: it needs the same variable.
    """
    if not any(name in environment for name in DECIDED):
        environment[BUILTIN_TRANSPORTS] = LARGE_BUFFERS
