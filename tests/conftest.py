"""What holds for all tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests over real ROS 2 run in real time: a core of a shared machine that stalls fails one once, a defect fails it
    every time. What is run again is named in the summary."""
    for item in items:
        if "ros_env" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=2))
