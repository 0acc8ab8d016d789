"""A robot with two cameras, of different rates, through lockstep and `autofocus evaluate`."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import policy_files as files
import pytest
import torch
import yaml
from autofocus_core import messages
from autofocus_core.annotation import Annotation, CameraAnnotation, ObjectTrack, write_annotation
from autofocus_core.bag_writer import BagWriter
from autofocus_core.episode import Episode, content_hash
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import load_robot
from autofocus_policy.lockstep import trace
from autofocus_policy.offline import main
from autofocus_policy.runner import PolicyRunner
from evaluation_bags import MS, T0
from torch import Tensor

FRONT_MS, WRIST_MS, WRIST_AFTER_MS, SECONDS = 40, 70, 13, 1.2
BOX = (40.0, 60.0, 100.0, 120.0)  # of the cube, in both pictures


class LooksAtTheWrist(torch.nn.Module):
    """Asks for as much as the second camera's picture is bright, and says that it looks at the cube in that one."""

    def forward(self, images: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        asked = images[:, 1].float().mean((1, 2, 3)) * 1e-3
        maps = torch.full((1, 2, 12, 16), 1.0 / 192)
        maps[:, 1] = 0.0
        maps[:, 1, 3:6, 2:5] = 1.0 / 9
        return state[:, None].expand(-1, 8, -1) + asked[:, None, None], maps


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """(robot YAML, policy file, recording)."""
    folder = tmp_path_factory.mktemp("two")
    raw = yaml.safe_load(files.SIM_ROBOT_YAML.read_text())
    front = raw["cameras"][0]
    wrist = {**front, "name": "wrist", "topic": "/wrist/image_raw", "info_topic": "/wrist/camera_info", "rate_hz": 15}
    raw["cameras"] = [front | {"rate_hz": 25}, wrist]
    raw.pop("kinematics")
    (folder / "robot.yaml").write_text(yaml.safe_dump(raw))
    robot = load_robot(folder / "robot.yaml")
    policy = files.write_policy(folder / "p.pt", LooksAtTheWrist(), files.manifest_for(robot))
    write_bag(folder / "bag", robot)
    return folder / "robot.yaml", policy, folder / "bag"


def brightness(wrist_frame: int) -> int:
    return 20 + 5 * wrist_frame


def write_bag(path, robot) -> None:
    """The front camera's pictures are the same but for a byte; the wrist's grow brighter with each, around a cube."""
    header, time, image, state = (messages.message_class(t) for t in (
        "std_msgs/msg/Header", "builtin_interfaces/msg/Time", "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"))
    front, wrist = robot.cameras
    events = [(T0 + k * 10 * MS, robot.state, k) for k in range(int(SECONDS * 100))]
    events += [(T0 + k * 100 * MS, robot.action, k) for k in range(int(SECONDS * 10))]
    events += [(T0 + k * FRONT_MS * MS, front, k) for k in range(int(SECONDS * 1000 / FRONT_MS))]
    events += [(T0 + (k * WRIST_MS + WRIST_AFTER_MS) * MS, wrist, k) for k in range(int(SECONDS * 1000 / WRIST_MS))]
    with BagWriter(path) as writer:
        for stream in (robot.state, robot.action, front, wrist):
            writer.add_topic(stream.topic, stream.type)
        for stamp, stream, k in sorted(events, key=lambda e: e[0]):
            head = header(stamp=time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id="")
            if stream in (front, wrist):
                pixels = np.full((240, 320, 3), brightness(k) if stream is wrist else 90, np.uint8)
                pixels[0, 0, 0] = k
                if stream is wrist:
                    pixels[60:120, 40:100] = 255
                msg = image(header=head, height=240, width=320, encoding="rgb8", is_bigendian=0, step=960,
                            data=pixels.reshape(-1))
            else:
                q = np.array(robot.start.pose) + 0.1 * (stamp - T0) / 1e9
                msg = state(header=head, name=list(robot.joint_names), position=q, velocity=np.zeros(0),
                            effort=np.zeros(0))
            writer.write(stream.topic, messages.serialize(msg, stream.type), stamp, stamp)


def test_each_observation_has_the_last_picture_of_either_camera(cell):
    robot_file, policy, bag = cell
    robot = load_robot(robot_file)
    found = trace(Episode(bag, None), PolicyRunner(policy, robot), robot)
    assert len(found.stamps_ns) >= 9 and not (found.stamps_ns - T0).astype(int).tolist()[0] % (FRONT_MS * MS)
    asked = (found.answered[:, 0] - found.states)[:, 0] / 1e-3
    frames = (found.stamps_ns - T0 - WRIST_AFTER_MS * MS) // (WRIST_MS * MS)  # the last at or before each observation
    cube = 60 * 60 / (240 * 320)
    np.testing.assert_allclose(asked, [brightness(k) * (1 - cube) + 255 * cube for k in frames], atol=0.02)
    assert len(set(frames.tolist())) > 5
    assert found.counts["observations"] == len(found.stamps_ns)


def test_what_it_looks_at_is_told_for_each_camera(cell, tmp_path):
    robot_file, policy, bag = cell
    robot = load_robot(robot_file)
    rows = {}
    for camera, period_ms, after_ms in zip(robot.cameras, (FRONT_MS, WRIST_MS), (0, WRIST_AFTER_MS), strict=True):
        stamps = np.array([T0 + (k * period_ms + after_ms) * MS for k in range(int(SECONDS * 1000 / period_ms))])
        n = len(stamps)
        cube = ObjectTrack("red cube", "target", np.tile(np.float32(BOX), (n, 1)), np.ones(n, np.float32),
                           np.ones(n, bool), ("",) * n)
        rows[camera.name] = CameraAnnotation(camera.name, 320, 240, stamps, (cube,), np.ones(n, bool), cube.reason)
    write_annotation(Annotation(bag.name, content_hash(bag), "lift", "lift it", tuple(rows.values())), bag)
    argv = [str(policy), str(bag), "--robot", str(robot_file), "--json", str(tmp_path / "j"), "--frames", "1",
            "--report", str(tmp_path / "r.html"), "--quiet"]
    assert main(argv) == 0
    summary = json.loads((tmp_path / "j").read_text())
    assert summary["attention"]["observations"] == 2 * summary["observations"], "both cameras"
    assert summary["attention"]["pointing_hits"] >= 0.5
    cube = summary["covering"]["things"]["red cube"]
    assert cube["frames"] == 2 and cube["change"] > 3 * cube["background"]
    assert summary["covering"]["frames"] == 2 and (tmp_path / "r.html").read_text().count("data:image/jpeg") >= 4


def test_a_second_camera_that_is_missing_is_named(cell, tmp_path):
    robot_file, policy, _ = cell
    robot = load_robot(robot_file)
    one = dataclasses.replace(robot, cameras=(robot.cameras[0], dataclasses.replace(robot.cameras[1], topic="/other")))
    with pytest.raises(AutofocusError, match="/other"):
        trace(Episode(cell[2], None), PolicyRunner(policy, robot), one)
