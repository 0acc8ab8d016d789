from setuptools import setup

PACKAGE = "command_guard"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="The only publisher of robot commands: limits, watchdogs, hold",
    license="Apache-2.0",
    packages=[PACKAGE],
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["autofocus_core", "numpy"],
    python_requires=">=3.10",
    entry_points={"console_scripts": ["guard = command_guard.node:main"]},
)
