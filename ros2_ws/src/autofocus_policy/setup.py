from glob import glob

from setuptools import setup

PACKAGE = "autofocus_policy"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Runs a TorchScript policy at control rate, and evaluates it on bags",
    license="Apache-2.0",
    packages=[PACKAGE],
    package_data={PACKAGE: ["py.typed", "report.css"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        ("share/" + PACKAGE + "/launch", sorted(glob("launch/*.launch.py"))),
    ],
    install_requires=["autofocus_core", "torch", "tqdm"],
    python_requires=">=3.10",
    entry_points={
        "console_scripts": ["policy = autofocus_policy.node:main", "replay = autofocus_policy.replay_node:main"],
    },
)
