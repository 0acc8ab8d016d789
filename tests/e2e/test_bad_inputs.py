"""What a stranger gets wrong on the command line: a non-zero exit, and a message that says what to do."""

import os
import subprocess
import sys

import pytest
import yaml
from annotate_bags import write_bag
from autofocus_core.annotation import read_annotation
from policy_files import SIM_ROBOT_YAML, write_policy
from sim_config import CONFIG

TASK = str(CONFIG / "lift.yaml")
ROBOT = str(SIM_ROBOT_YAML)


def autofocus(*arguments):
    """Exit status and standard error (output, where it went well) of `autofocus ARGUMENTS`, as a user would run it."""
    command = [sys.executable, "-m", "autofocus_cli.main", *map(str, arguments)]
    env = {**os.environ, "MUJOCO_GL": "egl"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    return result.returncode, result.stderr if result.returncode else result.stdout


def changed_robot(tmp_path, change):
    raw = yaml.safe_load(SIM_ROBOT_YAML.read_text())
    change(raw)
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def unknown_key(raw):
    raw["control_rate"] = 10


def missing_limit(raw):
    del raw["joints"][0]["velocity"]


@pytest.mark.parametrize(("change", "said"), [(unknown_key, "control_rate"), (missing_limit, "velocity")])
def test_bad_robot_yaml(tmp_path, change, said):
    write_bag(tmp_path / "bag", frames=3)
    robot = changed_robot(tmp_path, change)
    status, message = autofocus("annotate", tmp_path / "bag", "--robot", robot, "--task", TASK)
    assert status == 2
    assert said in message
    assert "fix:" in message
    assert "Traceback" not in message


def test_joint_that_is_not_in_the_recording(tmp_path):
    def rename(raw):
        raw["joints"][0]["name"] = "base_yaw"
        raw["action"]["topic"] = raw["state"]["topic"]

    write_bag(tmp_path / "bag", frames=12)
    robot = changed_robot(tmp_path, rename)
    status, message = autofocus(
        "train", tmp_path / "bag", "--robot", robot, "--task", TASK, "--config", "tiny", "--method", "none",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert status == 2
    assert "base_yaw" in message
    assert "fix:" in message


def test_policy_of_another_robot(tmp_path):
    def rename(raw):
        raw["joints"][0]["name"] = "base_yaw"

    write_bag(tmp_path / "bag", frames=3)
    policy = write_policy(tmp_path / "policy.pt")
    status, message = autofocus("evaluate", policy, tmp_path / "bag", "--robot", changed_robot(tmp_path, rename))
    assert status == 2
    assert "base_yaw" in message
    assert "waist" in message
    assert "fix:" in message


@pytest.mark.parametrize("content", [None, b"", b"not a policy", b"PK\x03\x04 half a zip"])
def test_missing_or_foreign_policy_file(tmp_path, content):
    write_bag(tmp_path / "bag", frames=3)
    if content is not None:
        (tmp_path / "policy.pt").write_bytes(content)
    status, message = autofocus("evaluate", tmp_path / "policy.pt", tmp_path / "bag", "--robot", ROBOT)
    assert status == 2
    assert "policy.pt" in message
    assert "autofocus export" in message


@pytest.mark.parametrize("verb", ["annotate", "train", "evaluate"])
def test_empty_episode_directory(tmp_path, verb):
    (tmp_path / "episodes").mkdir()
    extra = {
        "annotate": ["--task", TASK],
        "train": ["--task", TASK, "--out", tmp_path / "run"],
        "evaluate": [],
    }[verb]
    first = [write_policy(tmp_path / "policy.pt")] if verb == "evaluate" else []
    status, message = autofocus(verb, *first, tmp_path / "episodes", "--robot", ROBOT, *extra)
    assert status == 2
    assert "episodes" in message
    assert "fix:" in message


def test_truncated_bag(tmp_path):
    write_bag(tmp_path / "bag", frames=12)
    (storage,) = (tmp_path / "bag").glob("*.mcap")
    storage.write_bytes(storage.read_bytes()[: storage.stat().st_size // 2])
    status, message = autofocus("annotate", tmp_path / "bag", "--robot", ROBOT, "--task", TASK)
    assert status == 0, "what reads is annotated"
    assert "bag: the recording is damaged, annotated as far as it goes: bag.mcap: byte " in message
    provenance = read_annotation(tmp_path / "bag").provenance
    assert provenance["recording"]["lossy"] and provenance["recording"]["losses"]
    assert 0 < provenance["cameras"]["camera"]["frames"] < 12


def test_unknown_backend(tmp_path):
    write_bag(tmp_path / "bag", frames=3)
    arguments = ["annotate", tmp_path / "bag", "--robot", ROBOT, "--task", TASK, "--detect", "crystal-ball"]
    status, message = autofocus(*arguments)
    assert status == 2
    assert "crystal-ball" in message
    assert "colour-terms" in message
