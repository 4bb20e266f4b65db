"""Install the device half alone: `pip install ./jetson`, down to pip 9 and Python 3.6; setup.cfg says the rest."""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Build every module of the folder except this one."""

    def find_package_modules(self, package, package_dir):
        """List (package, module, file) of one package."""
        return [found for found in build_py.find_package_modules(self, package, package_dir) if found[1] != "setup"]


setup(cmdclass={"build_py": BuildPy})
