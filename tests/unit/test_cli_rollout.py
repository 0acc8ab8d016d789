"""Rollouts in process: side by side or alone, from a file or from memory, a scene ends the same way, and says why."""

from dataclasses import replace

import numpy as np
import policy_files as files
import pytest
import torch
from autofocus_cli.rollout import Network, run_rollout, run_rollouts
from autofocus_core.schema import load_task
from autofocus_policy.runner import Chunk, PolicyRunner
from autofocus_sim.cell import Cell
from autofocus_sim.demos import demonstration_rng
from autofocus_sim.expert import Expert
from autofocus_sim.seeds import TUNING

SEEDS = tuple(TUNING.take(3, skip=400))
TASK = replace(load_task(files.SIM_CONFIG / "lift.yaml"), timeout_s=1.2)


class Balance(torch.nn.Module):
    """Moves with its picture's left-right balance, each sample of a batch on its own."""

    def forward(self, images: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = images[:, 0].double()
        half = x.shape[2] // 2
        balance = (x[:, :, :half].mean((1, 2, 3)) - x[:, :, half:].mean((1, 2, 3))) / 25.0
        steps = torch.arange(1, 9, dtype=torch.float32)[None, :, None]
        actions = state[:, None] + 0.02 * torch.tanh(balance.float())[:, None, None] * steps
        return actions, torch.ones(len(images), 1, 1, 1)


def test_side_by_side_is_one_after_the_other():
    """Three scenes on two places, so that a cell is used again; pictures come from one view for all cells."""
    seen: dict[int, list[torch.Tensor]] = {1: [], 2: []}
    found = {}
    for at_once in (1, 2):
        def forward(images, state, at_once=at_once):
            seen[at_once] += list(images)
            return Balance()(images, state)

        found[at_once] = run_rollouts(Network(forward, 0.1), files.SIM_ROBOT, TASK, "mate", SEEDS, at_once=at_once)
    assert found[1] == found[2] and [rollout.seed for rollout in found[1]] == list(SEEDS)
    assert sorted(image.sum().item() for image in seen[1]) == sorted(image.sum().item() for image in seen[2])
    assert {rollout.outcome for rollout in found[1]} == {"never grasped"}


def test_memory_file_and_single_rollout_agree(tmp_path):
    path = files.write_policy(tmp_path / "policy.pt", Balance())
    runner = PolicyRunner(path, files.SIM_ROBOT)
    in_memory = run_rollouts(Network(Balance(), 0.1), files.SIM_ROBOT, TASK, "nominal", SEEDS[:1])
    assert run_rollouts(path, files.SIM_ROBOT, TASK, "nominal", SEEDS[:1]) == in_memory
    cell = Cell()
    alone = run_rollout(runner, cell, files.SIM_ROBOT, TASK, "nominal", SEEDS[0])
    cell.close()
    assert [alone] == in_memory


@pytest.mark.parametrize("task", ["lift", "pack"])
def test_a_policy_that_knows_succeeds_and_says_how_far_it_came(task):
    """The operator as a policy, asked through the same door: what it is given, it must be given in time and order."""
    loaded = load_task(files.SIM_CONFIG / f"{task}.yaml")
    cell = Cell()
    expert = Expert(task)
    expert.reset(demonstration_rng(SEEDS[0]))

    class Knows:
        def act(self, observation):
            action = expert.act(cell.truth(boxes=False), observation.state)
            return Chunk(observation.stamp_ns, 0.1, action.clean[None].repeat(4, axis=0), np.ones((1, 1, 1)))

    result = run_rollout(Knows(), cell, files.SIM_ROBOT, loaded, "nominal", SEEDS[0])
    cell.close()
    assert result.success and result.outcome == "success" and result.time_s < loaded.timeout_s
    assert result.stages[0] == "red cube grasped"
    assert len(result.stages) == (1 if task == "lift" else 4)
    assert result.holds == result.faults == result.refused == 0
