"""A RealSense camera: finding it, setting it, its time as ROS time. No ROS here; pyrealsense2 is imported when used."""
