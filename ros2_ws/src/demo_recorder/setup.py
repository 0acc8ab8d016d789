from setuptools import setup

PACKAGE = "demo_recorder"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Records demonstrations into rosbag2 episodes, raw bytes, every loss counted",
    license="Apache-2.0",
    packages=[PACKAGE],
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["autofocus_core", "mcap"],
    python_requires=">=3.10",
    entry_points={"console_scripts": ["recorder = demo_recorder.node:main"]},
)
