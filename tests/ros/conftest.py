"""Real ROS 2 in every test here."""

import importlib.util
from pathlib import Path

import pytest
from guard_fixtures import *  # noqa: F403
from ros_processes import *  # noqa: F403
from ros_processes import NO_RCLPY


class _SkippedModule(pytest.Module):
    def collect(self):
        pytest.skip(NO_RCLPY, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip a whole module, without importing it, where rclpy is missing."""
    if importlib.util.find_spec("rclpy") is None:
        return _SkippedModule.from_parent(parent, path=module_path)
    return None
