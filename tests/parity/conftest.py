"""Parity tests that need ROS use the fixtures of tests/ros."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("ros_fixtures", Path(__file__).parents[1] / "ros/conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

pytest_runtest_makereport = _fixtures.pytest_runtest_makereport
ros_domain_id, ros_env, ros_node = _fixtures.ros_domain_id, _fixtures.ros_env, _fixtures.ros_node
spawn, wait_until = _fixtures.spawn, _fixtures.wait_until
