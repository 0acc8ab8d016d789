"""(c): the same network the way ROS 2 policy nodes in Python do it.

    python peer_node.py ROBOT ENCODER SIZE_PX single|multi

As in iblnkn/rosetta (rosetta/policy_bridge_node.py): the subscription's callback decodes every frame (`_obs_cb`,
`decode_value`: out of the message, into an array of its own, nearest-neighbour resize); a timer at control rate takes
the newest, makes float tensors of it (`_prepare`: permute, contiguous, float32 / 255) and calls the eager model within
the timer's callback (`_producer_tick`, `_produce_actions`). huggingface/lerobot prepares and calls alike
(`prepare_observation_for_inference`, `predict_action`), without ROS. In its favour: the action is published at once as
a joint command, where rosetta waits for its next tick and one more; nothing is checked; and "single", which the target
is measured against, has rclpy's quicker executor. rosetta spins a MultiThreadedExecutor of four threads: "multi".
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import rclpy
import torch
from autofocus_core.schema import load_robot
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

sys.path.insert(0, str(Path(__file__).parents[1]))
from policy_parts import networks

#: The clocks of camera and computer drift apart. Without that the age of the image at the tick would be the same all
#: through a run, by luck.
DRIFT = 1.02


class PeerNode(Node):
    def __init__(self, robot_file: str, encoder: str, size_px: str) -> None:
        super().__init__("peer")
        self.robot = load_robot(robot_file)
        self.size_px = int(size_px)
        self.policy = networks.core(encoder, len(self.robot.joint_names))
        self.frame: tuple[Image, np.ndarray] | None = None
        self.state: list[float] | None = None
        for _ in range(4):
            self.policy(torch.zeros(1, 3, self.size_px, self.size_px), torch.zeros(1, len(self.robot.joint_names)))
        self.create_subscription(Image, self.robot.cameras[0].topic, self.on_image, 10)
        self.create_subscription(JointState, self.robot.state.topic, self.on_state, 10)
        self.commands = self.create_publisher(JointState, self.robot.command.topic, 10)
        self.create_timer(DRIFT / self.robot.control_rate_hz, self.tick)

    def on_image(self, msg: Image) -> None:
        pixels = np.frombuffer(bytes(msg.data), np.uint8).reshape(msg.height, msg.step)[:, : msg.width * 3]
        pixels = pixels.reshape(msg.height, msg.width, 3).copy()  # cv_bridge and rosetta both give memory of its own
        rows = np.linspace(0, msg.height - 1, self.size_px).astype(np.int64)
        columns = np.linspace(0, msg.width - 1, self.size_px).astype(np.int64)
        self.frame = (msg, pixels[rows][:, columns])

    def on_state(self, msg: JointState) -> None:
        by_name = dict(zip(msg.name, msg.position, strict=True))
        self.state = [by_name[name] for name in self.robot.joint_names]

    def tick(self) -> None:
        if self.frame is None or self.state is None:
            return
        msg, pixels = self.frame
        image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).contiguous().to(torch.float32) / 255.0
        state = torch.as_tensor(self.state, dtype=torch.float32)[None]
        with torch.inference_mode():
            action = self.policy(image, state)[0, 0].detach().cpu().numpy().astype(np.float64)
        command = JointState(name=list(self.robot.joint_names), position=action.tolist())
        command.header.stamp = msg.header.stamp
        self.commands.publish(command)


def main(robot_file: str, encoder: str, size_px: str, executors: str) -> None:
    torch.set_num_threads(1)
    rclpy.init()
    executor = SingleThreadedExecutor() if executors == "single" else MultiThreadedExecutor(num_threads=4)
    executor.add_node(PeerNode(robot_file, encoder, size_px))
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()


if __name__ == "__main__":
    main(*sys.argv[1:])
