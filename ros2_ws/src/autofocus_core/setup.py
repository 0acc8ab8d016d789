from setuptools import setup

PACKAGE = "autofocus_core"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Robot and task schema, bags, images, alignment and saliency maths: no rclpy, no torch",
    license="Apache-2.0",
    packages=[PACKAGE],
    package_data={PACKAGE: ["py.typed", "*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["numpy", "pyyaml", "mcap", "rosbags", "rosbags-image"],
    extras_require={"kinematics": ["mujoco"], "fast": ["isal"]},
    python_requires=">=3.10",
    entry_points={"console_scripts": []},
)
