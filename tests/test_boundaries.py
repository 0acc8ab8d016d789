"""Who may import whom: core <- the ROS packages; core <- training; the command line on top."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROS_PACKAGES = {
    "autofocus_core", "demo_recorder", "saliency_server", "autofocus_policy", "command_guard", "autofocus_sim",
}  # fmt: skip
OURS = ROS_PACKAGES | {"autofocus_training", "autofocus_cli"}
FOLDERS = {name: ROOT / "ros2_ws/src" / name / name for name in ROS_PACKAGES} | {
    "autofocus_training": ROOT / "training",
    "autofocus_cli": ROOT / "cli",
}
ALLOWED = {name: {"autofocus_core", name} for name in OURS}
ALLOWED |= {"autofocus_core": {"autofocus_core"}, "autofocus_cli": OURS}
MESSAGE_PACKAGES = {
    "rclpy", "sensor_msgs", "std_msgs", "std_srvs", "trajectory_msgs", "diagnostic_msgs", "visualization_msgs",
    "geometry_msgs", "lifecycle_msgs", "builtin_interfaces", "rcl_interfaces", "rosgraph_msgs", "nav_msgs",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Top-level packages that the file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def sources(package: str) -> list[Path]:
    files = sorted(FOLDERS[package].rglob("*.py"))
    assert files, f"no sources of {package}"
    return files


@pytest.mark.parametrize("package", sorted(OURS))
def test_imports_go_one_way(package: str) -> None:
    for path in sources(package):
        wrong = (imports(path) & OURS) - ALLOWED[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("package", sorted(OURS))
def test_ros_is_imported_in_node_modules_only(package: str) -> None:
    for path in sources(package):
        ros = imports(path) & MESSAGE_PACKAGES
        if path.name == "ros_messages.py":  # plain values to and from messages, for the nodes of its package
            ros -= MESSAGE_PACKAGES - {"rclpy"}
        assert not ros or path.stem.endswith("node"), f"{path.relative_to(ROOT)} imports {ros}: only *node.py may"


@pytest.mark.parametrize("package", ["autofocus_core", "command_guard", "demo_recorder", "autofocus_sim"])
def test_no_torch_where_it_does_not_belong(package: str) -> None:
    for path in sources(package):
        assert "torch" not in imports(path), path


def modules(package: str) -> list[str]:
    return [
        ".".join((package, *path.relative_to(FOLDERS[package]).with_suffix("").parts)).removesuffix(".__init__")
        for path in sources(package)
    ]


def loaded_after_importing(names: list[str]) -> set[str]:
    code = "import importlib, sys\nfor n in sys.argv[1:]: importlib.import_module(n)\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return {name.split(".")[0] for name in result.stdout.split()}


def test_core_runs_without_ros_and_torch() -> None:
    """What is really loaded, through third parties too: cv_bridge would be a way for rclpy to come in."""
    assert not loaded_after_importing(modules("autofocus_core")) & {"rclpy", "torch"}


@pytest.mark.parametrize("package", ["autofocus_policy", "command_guard"])
def test_policy_node_and_guard_never_load_training(package: str) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    loaded = loaded_after_importing(modules(package))
    assert not loaded & {"autofocus_training", "autofocus_cli"}
    if package == "command_guard":
        assert "torch" not in loaded
