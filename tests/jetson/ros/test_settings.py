"""The node's parameters: what ROS makes of a value that was typed, and one line about each that is none."""

import pytest

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.ros.settings import PARAMETERS, TOPICS, help_text, read_settings

DEFAULTS = {name: default for name, (default, _) in PARAMETERS.items()}


def test_the_defaults_are_those_of_load():
    settings = read_settings(DEFAULTS)
    assert settings == ((), None, None, "auto", 0, "32FC1")


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ({"network": "street"}, {"networks": ("street",)}),
        ({"network": ["street", "rooms"]}, {"networks": ("street", "rooms")}),
        ({"res": 512}, {"res": (512, 512)}),
        ({"res": "360x480"}, {"res": (360, 480)}),
        ({"precision": "fp16", "threads": 2}, {"precision": "fp16", "threads": 2}),
        ({"depth": "16UC1"}, {"depth": "16UC1"}),
    ],
)
def test_what_may_be_typed(typed, wanted):
    settings = read_settings(dict(DEFAULTS, **typed))
    assert {name: getattr(settings, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ({"network": 7}, "parameter network: 7 is neither a name nor a list of names"),
        ({"network": ["street", 7]}, "parameter network: "),
        ({"res": "big"}, "parameter res: 'big' is not a size in pixels"),
        ({"res": -1}, "parameter res: '-1' is not"),
        ({"precision": "fp64"}, "parameter precision: 'fp64' is none of fp32, fp16, int8"),
        ({"engine": "gpu"}, "parameter engine: 'gpu' is none of auto, tensorrt"),
        ({"threads": "many"}, "parameter threads: 'many' is no number from 0 on"),
        ({"threads": True}, "parameter threads: True"),
        ({"depth": "64FC1"}, "parameter depth: '64FC1' is none of 32FC1, 16UC1"),
        ({"depth": ["32FC1"]}, "parameter depth: "),
    ],
)
def test_what_is_refused(typed, line):
    with pytest.raises(JetsonError, match=line):
        read_settings(dict(DEFAULTS, **typed))


def test_the_help_names_everything():
    text = help_text()
    assert all("~" + name in text for name in [*PARAMETERS, *TOPICS])
