"""Install the device half alone: `pip install ./jetson`, down to pip 9 and Python 3.6. All settings are in setup.cfg."""

from setuptools import setup

setup()
