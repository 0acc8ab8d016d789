"""A bag as `ros2 bag record` would have written it goes all the way: annotate, train, evaluate, given a robot YAML."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from annotate_bags import COMPRESSED, IMAGE, scene, write_bag
from autofocus_cli.main import run
from autofocus_core.episode import load_episode
from autofocus_core.schema import load_robot, load_task
from autofocus_training.config import load_config
from autofocus_training.data import load_dataset
from autofocus_training.images import resize_frames
from rosbags.rosbag2 import StoragePlugin
from sim_config import CONFIG

TASK = CONFIG / "lift.yaml"


@pytest.fixture
def robot_yaml(tmp_path):
    """The sim's robot for a bag of images and joint states only: the action is where the arm went."""

    def write(image_type: str) -> Path:
        raw = yaml.safe_load((CONFIG / "sim_arm.yaml").read_text())
        raw["cameras"][0]["type"] = image_type
        raw["action"]["topic"] = raw["state"]["topic"]
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(raw))
        return path

    return write


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3], ids=["mcap", "sqlite"])
@pytest.mark.parametrize(("kind", "image_type"), [("raw", IMAGE), ("bgr", IMAGE), ("png", COMPRESSED)])
def test_a_foreign_bag_becomes_samples(tmp_path, robot_yaml, kind, image_type, storage):
    bag, robot = tmp_path / "theirs", robot_yaml(image_type)
    write_bag(bag, kind, storage)
    common = ["--robot", str(robot), "--task", str(TASK)]
    assert run(["annotate", str(bag), *common, "--quiet"]) in (0, None)
    config = load_config("tiny", [])
    dataset = load_dataset([load_episode(bag)], load_robot(robot), load_task(TASK), config)
    assert dataset.objects == ("red cube", "orange gripper")
    assert dataset.samples.valid.all()
    # frame by frame the picture that was painted, whatever it was stored as
    frames = dataset.samples.images[:, 0]
    for number in (0, len(frames) - 1):
        painted = resize_frames(torch.from_numpy(scene(number)[0])[None], *config.image_size)[0]
        assert np.array_equal(frames[number].numpy(), painted.numpy())


def test_a_foreign_bag_trains_and_is_evaluated(tmp_path, robot_yaml):
    robot = robot_yaml(COMPRESSED)
    bags = [tmp_path / "theirs" / name for name in ("one", "two")]
    for bag in bags:
        write_bag(bag, "jpeg", StoragePlugin.SQLITE3)
    common = ["--robot", str(robot), "--task", str(TASK)]
    assert run(["annotate", str(tmp_path / "theirs"), *common, "--quiet"]) in (0, None)
    out = tmp_path / "run"
    arguments = ["--config", "tiny", "--set", "steps=2", "--out", str(out)]
    assert run(["train", str(tmp_path / "theirs"), *common, *arguments]) in (0, None)
    report = tmp_path / "report.json"
    policy = str(out / "policy.pt")
    assert run(["evaluate", policy, str(bags[0]), "--robot", str(robot), "--json", str(report)]) in (0, None)
    assert json.loads(report.read_text())
