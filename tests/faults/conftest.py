"""Fault tests over ROS use the fixtures for it; the others run without."""

from ros_processes import *  # noqa: F403
