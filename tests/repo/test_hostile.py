"""Seeded mutations of what others may hand over: each is accepted, or refused in one line; nothing else ever happens.

The small run is part of every test run; the large one, of a million inputs, prints its counts:
`pytest -m slow -s tests/repo/test_hostile.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastnas.errors import FastnasError
from fastnas.jetson import sidecar
from fastnas.jetson.bench import report
from fastnas.jetson.bench.measure import STAGES, summarise
from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.web.access import Guard
from fastnas.jetson.camera.web.request import Reader, Refused
from fastnas.jetson.checks import parse_json
from fastnas.jetson.engine.cache import record_from
from fastnas.models.genotype import Genotype
from fastnas.models.header import parse_header
from fastnas.models.spec import ModelSpec
from fastnas.search.best import best_record
from fastnas.search.history import Candidate, Record, parse
from fastnas.search.settings import SearchSettings
from fastnas.tasks import Depth, Pose, Segmentation
from tests.helpers.hostile import Subject, count, outcome
from tests.helpers.jetson_toys import DECODE, TASKS

GENOTYPE = Genotype.parse("[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]")


class RefusedLine(Exception):
    """A request that the page refused, with its line."""


def sidecars() -> tuple[bytes, ...]:
    file = sidecar.ModelFile("model.onnx", "fp32", ("onnxruntime", "tensorrt"), "0" * 64, 10633)
    image = sidecar.Input("image", "NCHW", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    outputs = [sidecar.Output(kind, task, DECODE[kind], 4) for kind, task in TASKS.items()]
    found = [
        sidecar.Sidecar("toy", image, tuple(several), (file,), input_size=(64, 64))
        for several in (*([output] for output in outputs), outputs)
    ]
    return tuple(json.dumps(each.to_dict()).encode() for each in found)


def read_sidecar(data: bytes) -> None:
    read = sidecar.from_dict(parse_json(data, "model.json"), "model.json")
    assert sidecar.from_dict(json.loads(json.dumps(read.to_dict()))) == read


def reports() -> tuple[bytes, ...]:
    rows = [
        {
            "name": "toy", "precision": "fp32", "size": [side, side], "trained": True,
            "engine": {"engine": "onnxruntime", "provider": "CPU"}, "ms": {s: summarise([1.0, 2.0]) for s in STAGES},
            "fps": {"inference": 1.0, "end_to_end": 1.0}, "reasons": ["few passes"], "samples": {"compute": [1.0, 2.0]},
            "sensors": {"seconds": 1.0, "power_w": 3.0, "power_w_max": 4.0, "hottest": "GPU"}, "readings": [{"x": 1}],
        }
        for side in (128, 256, 512)
    ]  # fmt: skip
    machine = {"module": "a board", "cpu": "ARM", "cores": 6, "absent_sensors": ["gpu_mhz"]}
    return (json.dumps(report.make_report(machine, "a board", {"passes": 2}, rows[:1])).encode(),
            json.dumps(report.make_report(machine, "a board", {"passes": 2}, rows)).encode())  # fmt: skip


def read_report(data: bytes) -> None:
    read = report.check_report(parse_json(data, "the report"), "the report")
    table = report.to_table(read) + report.to_csv(read)
    assert "\x1b" not in table
    table.encode()
    report.compare(read, read)


def headers() -> tuple[bytes, ...]:
    tasks = (
        Segmentation(("road", "other"), ((128, 64, 128), (0, 0, 0))),
        Pose(("head", "left_hand", "right_hand"), ((0, 1), (0, 2)), (0, 2, 1)),
        Depth(0.5, 10.0),
    )
    return tuple(
        json.dumps(
            {"format": 1, "version": "0.1.0", "model": ModelSpec(str(GENOTYPE), task).to_dict(), "recipe": {},
             "metrics": {"mean_iou": 0.5}, "normalisation": {"mean": [0, 0, 0], "std": [1, 1, 1]}}
        ).encode()
        for task in tasks
    )  # fmt: skip


def read_header(data: bytes) -> None:
    header = parse_header({"fastnas": data.decode("utf-8", "replace")}, Path("model.safetensors"))
    assert ModelSpec.from_dict(header["model"]).task.outputs >= 1


def read_history(data: bytes) -> None:
    records, end = parse(data, Path("history.jsonl"))
    assert end <= len(data)
    best_record(records)
    assert [Record.from_json(record.to_json()) for record in records] == records


def requests() -> tuple[bytes, ...]:
    body = b'{"task": "depth", "alpha": 0.25, "paused": true}'
    post = b"POST /control HTTP/1.1\r\nHost: localhost:8080\r\nOrigin: http://localhost:8080\r\n"
    post += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    get = b"GET /?token=abc HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nCookie: fastnas_8080=abc; x=y\r\nAccept: */*\r\n\r\n"
    return post, get


GUARDS = (Guard("127.0.0.1", 8080), Guard("0.0.0.0", 8080))


def read_request(data: bytes) -> None:
    try:
        reader, request = Reader(), None
        for start in range(0, len(data), 4000):
            request = reader.feed(data[start : start + 4000])
            if request is not None:
                break
        if request is None:
            return
        for guard in GUARDS:
            guard.check(request.headers, request.parameter("token"))
        GUARDS[0].check_control(request.headers)
    except Refused as refusal:
        if refusal.args[0] not in (400, 401, 403, 413, 415):
            raise AssertionError("another status") from refusal
        raise RefusedLine(refusal.args[1]) from refusal
    Controls(["segmentation", "depth"]).apply(parse_json(request.body, "control"))


RECORDS = (
    Record(Candidate(0, GENOTYPE, -20.0, 0), "done", 0.5, 0.4, 0.5, scores={"iou": 0.5}),
    Record(Candidate(1, GENOTYPE, -20.0, 0), "failed", reason="no memory"),
)
RECORD = {"identity": {"graph": "0" * 64, "size": [32, 32], "L4T": None}, "sha256": "0" * 64, "difference": 0.01}
SUBJECTS = {
    "sidecar": Subject(read_sidecar, sidecars()),
    "report": Subject(read_report, reports()),
    "engine record": Subject(lambda data: record_from(parse_json(data, "x"), "x"), (json.dumps(RECORD).encode(),)),
    "HTTP request": Subject(read_request, requests(), json=False),
    "settings.json": Subject(SearchSettings.from_json, (SearchSettings().to_json().encode(),)),
    "history.jsonl": Subject(read_history, tuple((record.to_json() + "\n").encode() for record in RECORDS)),
    "model header": Subject(read_header, headers()),
}
OURS = (FastnasError, RefusedLine)
MILLION = 10**6


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_valid_is_accepted(name: str) -> None:
    subject = SUBJECTS[name]
    for valid in subject.valid:
        if name != "HTTP request":  # the page's token is new in every process
            assert outcome(subject, valid, OURS) == "accepted"


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_few_thousand_inputs_are_accepted_or_refused_in_one_line(name: str) -> None:
    counts, failures = count(SUBJECTS[name], 500, 0, OURS)
    assert failures == []
    assert counts["refused"] > 100


@pytest.mark.slow
def test_a_million_inputs_are_accepted_or_refused_in_one_line() -> None:
    wrong: list[str] = []
    print()
    each = -(-MILLION // len(SUBJECTS))
    for seed, (name, subject) in enumerate(SUBJECTS.items()):
        counts, failures = count(subject, each, seed + 1, OURS)
        print(f"{name}: {each} inputs, " + ", ".join(f"{counts[k]} {k}" for k in ("accepted", "refused", "failed")))
        wrong += failures
    assert wrong == []


def test_a_reader_that_fails_is_found() -> None:
    """The test would see what it looks for."""

    def careless(data: bytes) -> Any:
        values = json.loads(data)
        if values["sha256"].startswith("0"):
            raise FastnasError(values["sha256"])

    class Raw(FastnasError):
        __str__ = Exception.__str__

    def two_lines(data: bytes) -> Any:
        raise Raw("a\nb")

    _, failures = count(Subject(careless, SUBJECTS["engine record"].valid), 200, 0, OURS)
    assert any("KeyError" in line for line in failures)
    assert outcome(Subject(two_lines, (b"",)), b"", OURS).startswith("not one line")
