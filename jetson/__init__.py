"""The device half of fastnas: engines, benchmark and camera, for Python 3.6 and later, on its own.

It imports nothing of fastnas outside this folder, so that `pip install ./jetson` is all that a board needs. There,
`fastnas` is a namespace package that holds only this folder; on a host it is the full package.
"""

__version__ = "0.1.0"
