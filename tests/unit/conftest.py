"""Fixtures that more than one file of unit tests uses."""

from pathlib import Path

import pytest
import training_bags as bags


@pytest.fixture()
def recorded(tmp_path) -> Path:
    """A folder with two annotated episodes in `episodes`, for `training_bags.train_arguments`."""
    for name in ("e0", "e1"):
        bags.write_episode(tmp_path / "episodes" / name, frames=20)
    return tmp_path
