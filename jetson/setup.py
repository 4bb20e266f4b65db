"""Install the device half alone: `pip install ./jetson`, down to pip 9 and Python 3.6; setup.cfg says the rest."""

from setuptools import setup

setup()
