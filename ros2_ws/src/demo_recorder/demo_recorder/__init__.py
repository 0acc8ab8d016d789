"""Records demonstrations into rosbag2 episodes, raw bytes, every loss counted."""
