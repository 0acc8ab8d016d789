from setuptools import setup

PACKAGE = "saliency_server"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Annotates recorded episodes with what matters in them",
    license="Apache-2.0",
    packages=[PACKAGE],
    package_data={PACKAGE: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["autofocus_core", "opencv-python-headless", "scipy", "tqdm"],
    python_requires=">=3.10",
    entry_points={"console_scripts": ["server = saliency_server.node:main", "annotate = saliency_server.annotate:cli"]},
)
