"""Package metadata; tools are configured in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = {}
exec((HERE / "samplug" / "version.py").read_text(), VERSION)


class BuildWithConfigs(build_py):
    """Puts configs, projects and tools into the wheel as ``samplug/.mim``, where OpenMMLab's tools look for them."""

    def run(self):
        super().run()
        if self.editable_mode:  # the checkout has it
            return
        target = Path(self.build_lib) / "samplug" / ".mim"
        shutil.rmtree(target, ignore_errors=True)
        for folder in ("configs", "projects", "tools"):
            shutil.copytree(HERE / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "model-index.yml", target)


setup(
    name="samplug",
    version=VERSION["__version__"],
    description="Adapt Segment-Anything models with MMEngine configs",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    license_files=["LICENSE"],
    packages=find_packages(include=["samplug", "samplug.*"]),
    entry_points={"console_scripts": ["samplug = samplug.commands.run:main"]},
    cmdclass={"build_py": BuildWithConfigs},
    install_requires=[
        "filelock",
        "huggingface_hub>=1.0",
        "numpy>=2.0",
        "onedl-mmcv>=2.3.6",
        "onedl-mmdetection>=3.5.1",
        "onedl-mmengine>=0.10.12",
        "onedl-mmsegmentation>=1.4.2",
        "opencv-python-headless>=4.8",
        "pillow>=11.0",
        "psutil",
        "pycocotools>=2.0.7",
        "PyYAML",
        "rich",
        "safetensors>=0.5",
        "scikit-learn>=1.5",
        "scipy>=1.11",
        "tensorboard",
        "torch>=2.6",
        "transformers>=5.0",
    ],
    extras_require={
        "docs": ["furo>=2025.9,<2027", "myst-parser>=5,<6", "sphinx>=9,<10"],
        "geo": ["rasterio>=1.4"],
        "onnx": ["onnx>=1.18", "onnxruntime>=1.22", "onnxscript>=0.5"],
        "peft": ["peft>=0.17"],
        "test": [
            "markdown-it-py>=4",
            "mypy>=2.4",
            "onnx>=1.18",
            "onnxruntime>=1.22",
            "onnxscript>=0.5",
            "peft>=0.17",
            "pysodmetrics>=1.6.2",
            "pytest>=9",
            "pytest-xdist>=3.8",
            "rasterio>=1.4",
            "ruff>=0.17",
        ],
    },
)
