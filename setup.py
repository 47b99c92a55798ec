"""The one build step that pyproject.toml cannot name: the folder configs goes into the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """Copy the folder configs into the built package, where the model zoo looks for it."""

    def run(self) -> None:
        """Build as usual, then copy; an editable package reads the folder of the checkout."""
        super().run()
        if not self.editable_mode:
            inside = Path(self.build_lib, "occ_order", "model_zoo", "configs")
            shutil.rmtree(inside, ignore_errors=True)  # files of an earlier build
            shutil.copytree(Path(__file__).resolve().parent / "configs", inside)


setup(cmdclass={"build_py": WithConfigs})
