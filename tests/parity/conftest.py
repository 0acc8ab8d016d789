"""Parity tests that need ROS use the fixtures for it."""

from ros_processes import *  # noqa: F403
