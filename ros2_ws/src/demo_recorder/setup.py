from glob import glob

from setuptools import find_packages, setup

PACKAGE = "demo_recorder"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Records demonstrations into rosbag2 episodes, raw bytes, every loss counted; teleoperation",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, PACKAGE + ".*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        ("share/" + PACKAGE + "/config", sorted(glob("config/*.yaml"))),
    ],
    install_requires=["autofocus_core", "mcap", "textual"],
    extras_require={"realsense": ["pyrealsense2"]},
    python_requires=">=3.10",
    entry_points={
        "console_scripts": [
            "recorder = demo_recorder.node:main",
            "leader = demo_recorder.leader_node:main",
            "jog = demo_recorder.jog_node:main",
            "joystick = demo_recorder.joystick_node:main",
            "session_buttons = demo_recorder.session_buttons_node:main",
            "realsense = demo_recorder.realsense_node:main",
        ],
    },
)
