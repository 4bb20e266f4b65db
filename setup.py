"""The one thing pyproject.toml cannot say: jetson/setup.py packages the device half alone and is no module of ours."""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Build every module of the packages except a nested setup.py."""

    def find_package_modules(self, package, package_dir):
        """List (package, module, file) of one package."""
        return [found for found in super().find_package_modules(package, package_dir) if found[1] != "setup"]


setup(cmdclass={"build_py": BuildPy})
