"""The highest power mode of every board, by name: its number differs, and on half of them it is not 0."""

import json
import os

import pytest

from fastnas.jetson.system.power import PowerMode, highest, parse_modes, power_modes
from tests.helpers import paths

with open(os.path.join(paths.FIXTURES, "nvpmodel.json"), encoding="utf-8") as file:
    BOARDS = json.load(file)

HIGHEST = {
    "TX2": (0, "MAXN", 5),
    "AGX Xavier": (0, "MAXN", 8),
    "Xavier NX": (8, "MODE_20W_6CORE", 9),
    "Orin Nano": (0, "15W", 2),
    "Orin Nano Super": (2, "MAXN_SUPER", 4),
    "Orin NX Super": (0, "MAXN_SUPER", 5),
    "AGX Orin": (0, "MAXN", 4),
    "AGX Thor": (0, "MAXN", 4),
}
"""Number and name of the highest mode, and how many there are."""


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_the_highest_mode_of_a_board(board):
    modes = parse_modes(BOARDS[board])
    best = highest(modes)
    assert best is not None
    assert (best.number, best.name, len(modes)) == HIGHEST[board]
    assert [mode.number for mode in modes] == list(range(len(modes)))


def test_watts_and_cores_are_those_of_the_name_else_of_the_cores_that_are_on():
    modes = parse_modes(BOARDS["Xavier NX"])
    assert modes[8] == PowerMode(8, "MODE_20W_6CORE", 20, 6)
    assert parse_modes(BOARDS["AGX Orin"])[1] == PowerMode(1, "MODE_15W", 15, 4)
    assert parse_modes(BOARDS["TX2"])[3] == PowerMode(3, "MAXP_CORE_ARM", 0, 4)


def test_watts_decide_before_cores_and_super_before_all():
    def best(text):
        mode = highest(parse_modes(text))
        assert mode is not None
        return mode.number

    text = "< POWER_MODEL ID={} NAME={} >\n"
    assert best(text.format(0, "15W_8CORE") + text.format(4, "20W_2CORE")) == 4
    assert best(text.format(0, "MAXN") + text.format(7, "MAXN_SUPER")) == 7
    assert best(text.format(3, "60W") + text.format(1, "MAXN")) == 1


@pytest.mark.parametrize("text", ["", "nothing of use", "< POWER_MODEL NAME=MAXN >", "<", "< PM_CONFIG DEFAULT=0 >"])
def test_a_file_without_modes_has_no_highest(text):
    assert parse_modes(text) == []
    assert highest([]) is None


def test_a_machine_without_the_file_has_no_modes(tmp_path):
    assert power_modes(str(tmp_path)) == []
