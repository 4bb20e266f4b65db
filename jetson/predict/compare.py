"""Drawings of several networks side by side, as in the paper's Figures 7, 13 and 14."""

import os
from typing import Sequence

import numpy as np

from fastnas.jetson.inference.draw import caption
from fastnas.jetson.inference.model import FOLDERS, read
from fastnas.jetson.inference.results import write_image
from fastnas.jetson.predict.inputs import Input

FOLDER = "comparisons"


def compare(folder: str, networks: Sequence[str], inputs: Sequence[Input]) -> int:
    """Write `comparisons/NAME.jpg` for every image: itself, and the drawing of each network.

    Args:
        folder: that has the results of each network in a folder of its name.
        networks: their names, in the order of the columns.
        inputs: of which the images are compared; one that was not predicted by every network is left out.

    Returns:
        How many were written.
    """
    count = 0
    for given in inputs:
        paths = [os.path.join(folder, network, FOLDERS["overlay"], given.name + ".jpg") for network in networks]
        if given.address is None and all(os.path.exists(path) for path in paths):
            columns = [read(given.source)] + [read(path) for path in paths]
            titled = [caption(column, title) for column, title in zip(columns, ["image"] + list(networks))]
            height = max(column.shape[0] for column in titled)
            padded = [np.pad(c, ((0, height - c.shape[0]), (0, 0), (0, 0)), "constant") for c in titled]
            write_image(os.path.join(folder, FOLDER, given.name + ".jpg"), np.hstack(padded))
            count += 1
    return count
