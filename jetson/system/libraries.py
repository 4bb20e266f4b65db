"""Shared libraries of CUDA: where they may be, and loading one."""

import ctypes
import ctypes.util
import glob
import os
import sys
from typing import Any, List


def load_library(name: str) -> Any:
    """A library, or why it does not load."""
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        return "is not installed" if "No such file" in str(error) else "does not load: {}".format(error)


def runtime_paths(root: str, name: str = "cudart") -> List[str]:
    """Where a library of CUDA may be: where the system looks, NVIDIA's folder, the packages that PyTorch brings.

    Args:
        root: folder of the file system.
        name: `cudart`, the runtime, or `nvrtc`, its compiler.
    """
    found = ctypes.util.find_library(name) if root == "/" else None
    paths = [found] if found else []
    toolkit = os.path.join(glob.escape(root), "usr/local/cuda")
    folders = [os.path.join(toolkit, "lib64"), os.path.join(toolkit + "*", "targets", "*", "lib")]
    folders += [os.path.join(glob.escape(folder or "."), "nvidia", "*", "lib") for folder in sys.path]
    for folder in folders:
        paths += sorted(glob.glob(os.path.join(folder, "lib{}.so.*".format(name))))
    return paths


def spell_version(number: int) -> str:
    """CUDA's version as it is written: 12060 is 12.6."""
    return "{}.{}".format(number // 1000, number % 1000 // 10)
