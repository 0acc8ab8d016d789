from setuptools import find_packages, setup

PACKAGE = "saliency_server"

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Annotates recorded episodes with what matters in them",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, PACKAGE + ".*"]),
    package_data={PACKAGE: ["py.typed", "review/static/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
    ],
    install_requires=["autofocus_core", "opencv-python-headless", "pydantic>=2", "rich", "scipy"],
    extras_require={
        "openai": ["openai>=1.60"],
        "transformers": ["transformers>=5", "torch", "pillow"],
        "sam2": ["transformers>=5", "torch"],
        "ray": ["ray"],
        "review": ["starlette", "uvicorn"],
    },
    python_requires=">=3.10",
    entry_points={"console_scripts": ["server = saliency_server.node:main", "annotate = saliency_server.annotate:cli"]},
)
