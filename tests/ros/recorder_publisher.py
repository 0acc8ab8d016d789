"""A fake cell for the recorder's tests: joints 100 Hz, intent 10 Hz, images 30 Hz, a latched Bool.

Each joint message carries a counter as its first velocity, so that every loss shows.
Usage: recorder_publisher.py ROBOT_YAML [--without TOPIC] [--seconds S]
"""

import argparse

import numpy as np
import rclpy
from autofocus_core.schema import load_robot
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("robot")
    parser.add_argument("--without", action="append", default=[])
    arguments = parser.parse_args()
    robot = load_robot(arguments.robot)
    rclpy.init()
    node = rclpy.create_node("fake_cell")
    camera = robot.cameras[0]
    counts = {"joints": 0, "intent": 0, "image": 0}
    pixels = np.zeros((camera.height_px, camera.width_px, 3), np.uint8)

    def publisher(type_, topic, qos):
        return None if topic in arguments.without else node.create_publisher(type_, topic, qos)

    joints = publisher(JointState, robot.state.topic, QoSProfile(depth=100))
    intent = publisher(JointState, robot.action.topic, QoSProfile(depth=100))
    images = publisher(Image, camera.topic, qos_profile_sensor_data)
    infos = publisher(CameraInfo, camera.info_topic, QoSProfile(depth=10))
    latched = publisher(Bool, "/latched", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    if latched is not None:
        latched.publish(Bool(data=True))

    def joint_message(name):
        message = JointState(name=list(robot.joint_names), position=[0.0] * len(robot.joint_names))
        message.header.stamp = node.get_clock().now().to_msg()
        message.velocity = [float(counts[name])] * len(robot.joint_names)
        counts[name] += 1
        return message

    def image_tick():
        pixels[0, 0, 0] = counts["image"] % 256
        counts["image"] += 1
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8", step=pixels.shape[1] * 3)
        message.header.stamp = node.get_clock().now().to_msg()
        message.data.frombytes(pixels.tobytes())
        images.publish(message)
        infos.publish(CameraInfo(header=message.header))

    if joints is not None:
        node.create_timer(0.01, lambda: joints.publish(joint_message("joints")))
    if intent is not None:
        node.create_timer(0.1, lambda: intent.publish(joint_message("intent")))
    if images is not None:
        node.create_timer(1 / 30, image_tick)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
