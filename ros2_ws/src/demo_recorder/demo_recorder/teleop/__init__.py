"""Teleoperation without ROS: what comes from a leader arm, a gamepad or a keyboard becomes a target for the guard."""
