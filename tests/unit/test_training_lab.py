"""configs/lab.yaml as it is, but for the number of steps and the size of a batch: ResNet-18, 224x304, bfloat16."""

from __future__ import annotations

import pytest
import torch
import training_bags as bags
from autofocus_core.episode import load_episode
from autofocus_training import train
from autofocus_training.checkpoint import load_state, save_state
from autofocus_training.config import load_config
from autofocus_training.data import load_dataset
from autofocus_training.export import TOLERANCE, export_policy
from autofocus_training.fit import advance, begin


@pytest.mark.slow
def test_the_labs_config_trains_resumes_and_exports(tmp_path):
    """It was written for a GPU that nobody had and had never taken a step."""
    config = load_config("lab", ["steps=3", "batch_size=2", "warmup_steps=1"])
    assert (config.encoder, config.precision, config.image_size) == ("resnet18", "bfloat16", (224, 304))
    robot, task = bags.robot(), bags.task()
    episodes = [load_episode(bags.write_episode(tmp_path / name, frames=5)) for name in ("e0", "e1")]
    dataset = load_dataset(episodes, robot, task, config)
    checkpoint, history = train.run(dataset, robot, task, config)
    assert history["held_out"] is not None and history["looking"] is not None
    assert all(parameter.dtype == torch.float32 for parameter in checkpoint.network.parameters())

    training, _ = dataset.samples.split(config.held_out_episodes, seed=0)
    relative = train.relative_joints(robot, config)
    stopped = begin(training, relative, config)
    advance(stopped, training, config, until=1)
    save_state(tmp_path / "run.pt", stopped, config, dataset.hash, [])
    resumed = begin(training, relative, config)
    load_state(tmp_path / "run.pt", resumed, config, dataset.hash)
    advance(resumed, training, config, workers=1)
    again, whole = resumed.result().state_dict(), checkpoint.network.state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.items())

    assert export_policy(checkpoint, tmp_path / "policy.pt") <= TOLERANCE
