"""A policy that sees joint states of the past gets the same ones live and offline, or it does not run."""

from __future__ import annotations

import dataclasses

import numpy as np
import policy_files as files
import pytest
import torch
from autofocus_core.errors import AutofocusError
from autofocus_core.resample import Observation, StateHistory
from autofocus_policy.intake import Intake
from autofocus_policy.runner import PolicyRunner
from torch import Tensor

ROBOT = files.SIM_ROBOT


class Extrapolates(torch.nn.Module):
    """Goes on as the arm moved between the last two states."""

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        steps = torch.arange(1, 9, dtype=torch.float32)[None, :, None]
        moved = state[:, 0] - state[:, 1]
        return state[:, :1] + steps * moved[:, None], torch.zeros(state.shape[0], 1, 4, 4)


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> PolicyRunner:
    manifest = dataclasses.replace(files.manifest_for(ROBOT), state_history=2)
    return PolicyRunner(files.write_policy(tmp_path_factory.mktemp("p") / "p.pt", Extrapolates(), manifest), ROBOT)


def test_the_policy_gets_the_present_state_first_and_then_the_earlier_ones(runner):
    now = np.array(ROBOT.start.pose)
    image = np.zeros((240, 320, 3), np.uint8)
    seen = Observation(5, {"camera": image}, {"camera": 5}, now, 5, earlier=(now - 0.01,))
    np.testing.assert_allclose(runner.act(seen).positions[:3], now + np.array([[0.01], [0.02], [0.03]]), atol=1e-6)


def test_an_observation_without_the_past_is_refused_and_not_filled_in(runner):
    now = np.array(ROBOT.start.pose)
    bare = Observation(5, {"camera": np.zeros((240, 320, 3), np.uint8)}, {"camera": 5}, now, 5)
    with pytest.raises(AutofocusError, match="joint states"):
        runner.act(bare)


def test_the_live_intake_hands_the_history_to_its_resampler():
    intake = Intake(ROBOT, ("camera",), 10.0, history=StateHistory(2, 0.1))
    assert intake._resampler.history == StateHistory(2, 0.1)
    intake.flush()
    assert intake._resampler.history == StateHistory(2, 0.1)
