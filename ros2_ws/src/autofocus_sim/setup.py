from glob import glob

from setuptools import setup

PACKAGE = "autofocus_sim"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="A MuJoCo cell that speaks the real robot's topics, and a scripted demonstrator",
    license="Apache-2.0",
    packages=[PACKAGE],
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        ("share/" + PACKAGE + "/config", sorted(glob("config/*.yaml") + glob("config/*.xml"))),
    ],
    install_requires=["autofocus_core", "mujoco", "numpy"],
    python_requires=">=3.10",
    entry_points={
        "console_scripts": ["sim = autofocus_sim.node:main", "demonstrator = autofocus_sim.demonstrator_node:main"],
    },
)
