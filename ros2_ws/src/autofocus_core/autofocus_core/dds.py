"""Room for images on their way to subscribers on the same computer, where the middleware is Fast DDS.

Its default is 512 KB of shared memory for all messages that are under way: larger images are sent in pieces through
sockets, at twice the CPU time, and some are lost when a subscriber is late (benchmarks/results/realsense.json).
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

PROFILE = Path(__file__).with_name("large_images.xml")
#: Where Fast DDS looks for profiles.
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
BUILTIN_TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
#: A user who has set one of these knows better.
DECIDED = (*VARIABLES, BUILTIN_TRANSPORTS)
IN_WORKING_DIRECTORY = "DEFAULT_FASTDDS_PROFILES.xml"
SHARED_MEMORY = Path("/dev/shm")
#: Four times the profile's segment: a container has 64 MB by default, and a full /dev/shm stops everybody.
NEEDED_BYTES = 4 * 64 * 1024**2


def make_room(environment: MutableMapping[str, str], shared_memory: Path = SHARED_MEMORY) -> bool:
    """Point Fast DDS at our profile, before rclpy is initialised; True where that was done."""
    if any(variable in environment for variable in DECIDED) or Path(IN_WORKING_DIRECTORY).exists():
        return False
    try:
        space = os.statvfs(shared_memory)
    except OSError:
        return False
    if space.f_bavail * space.f_frsize < NEEDED_BYTES:
        return False
    environment[VARIABLES[0]] = str(PROFILE)
    return True
