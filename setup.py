"""Packaging of occ_order; INSTALL.md explains the choices."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent

# What masks, orders, metrics, the CRF and generated scenes need: no PyTorch, no Detectron2.
ARRAYS = [
    "numpy>=1.26",
    "scipy>=1.11.4",
    "opencv-python-headless>=4.10",
    "pycocotools>=2.0.8",
    "PyMaxflow>=1.3.2",
    "networkx>=3.2",
    "numba>=0.60",
    "pillow>=10.3",
    "tqdm>=4.66",
]
REPORT = ["matplotlib>=3.8.2", "jinja2>=3.1"]
# Detectron2 itself cannot stand here: it has no release on the package index.
NETWORKS = ["torch>=2.4", "torchvision>=0.19"]
PSD = ["psd-tools>=1.12"]
INTEROP = ["supervision>=0.31"]
SAFETENSORS = ["safetensors>=0.4"]
# ONNX files are checked by onnx and run by onnxruntime.
EXPORT = ["onnx>=1.18", "onnxruntime>=1.20"]
TEST = [
    "pytest>=8.0",
    "pytest-xdist>=3.5",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "scikit-learn>=1.4",
    "ruff>=0.9",
    *PSD,
    *EXPORT,
    *SAFETENSORS,
]


class WithConfigs(build_py):
    """Puts the folder configs into the built package, where the model zoo looks for it."""

    def run(self) -> None:
        """Builds as usual, then copies."""
        super().run()
        if not self.editable_mode and (HERE / "configs").is_dir():
            inside = Path(self.build_lib, "occ_order", "model_zoo", "configs")
            shutil.copytree(HERE / "configs", inside, dirs_exist_ok=True)


def read_version() -> str:
    """Version out of occ_order/__init__.py, read as text: nothing is imported."""
    text = (HERE / "occ_order" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError('occ_order/__init__.py has no line __version__ = "..."')
    return found.group(1)


def read_readme() -> str:
    """README.md, or nothing where only the package was copied."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="occ_order",
    version=read_version(),
    description="Instances, who occludes whom, and who is nearer: a Detectron2 extension",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["occ_order", "occ_order.*"]),
    package_data={
        "occ_order": [
            "**/*.j2",
            "**/*.jinja",
            "**/*.json",
            "**/*.yaml",
            "**/*.css",
            "**/*.html",
            "**/*.js",
            "**/*.pth",
        ]
    },
    zip_safe=False,
    install_requires=ARRAYS,
    extras_require={
        "report": REPORT,
        "networks": NETWORKS + REPORT,
        "psd": PSD,
        "interop": INTEROP,
        "export": EXPORT,
        "safetensors": SAFETENSORS,
        "test": TEST,
        "all": NETWORKS + REPORT,
    },
)
