"""Fault tests over ROS use the fixtures for it; the others run without."""

from guard_fixtures import *  # noqa: F403
from ros_processes import *  # noqa: F403
