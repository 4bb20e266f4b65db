"""Latency of one image through a network once deployed: on this machine's CPU, or on a board.

Each network, size and machine is measured once, and the result kept in a cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastnas.errors import FastnasError, MissingPackage, first_line, import_extra, raise_if_interrupted
from fastnas.jetson import checks
from fastnas.jetson.checks import Fields
from fastnas.jetson.errors import ConnectionLost
from fastnas.jetson.files import atomic_path
from fastnas.jetson.options import parse_host
from fastnas.models.spec import ModelSpec, build
from fastnas.search.evaluation.evaluator import CandidateFailed
from fastnas.search.settings import LimitSettings

WARM_UP, PASSES = 3, 15
"""Passes on this machine before and during a measurement, of which the median is robust on a busy machine."""
SSH_PORT = 22


def latency(spec: ModelSpec, limits: LimitSettings, cache: Path) -> float:
    """Milliseconds of one image at the limits' resolution, the median over many passes.

    On this machine it is measured in ONNX Runtime on the CPU; on `limits.latency_host` with the engine that the board
    has, and it is what `fastnas jetson-bench --host` calls inference.

    Args:
        spec: the network.
        limits: resolution, host and precision.
        cache: folder that keeps measurements, in `latency/`.

    Raises:
        CandidateFailed: this network cannot be exported, or does not run.
        FastnasError: no network can be measured: the board cannot be reached, its address is malformed, ONNX Runtime
            is not installed, or the stored latency is damaged.
    """
    size = (limits.resolution, limits.resolution)
    host = None if limits.latency_host is None else split_host(limits.latency_host)
    where = [limits.latency_host, limits.latency_precision] if host else _this_machine()
    key = hashlib.sha256(json.dumps([spec.to_dict(), size, where], sort_keys=True).encode()).hexdigest()[:24]
    path = cache / "latency" / f"{key}.json"
    if path.is_file():
        return _stored(path)
    with _failures_named():
        if host:
            milliseconds = _on_board(host, spec, size, limits.latency_precision, cache)
        else:
            milliseconds = _on_this_machine(spec, size)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"milliseconds": milliseconds, "architecture": spec.architecture}))
    return milliseconds


def _stored(path: Path) -> float:
    """The milliseconds that an earlier measurement left.

    Raises:
        FastnasError: the file is damaged.
    """
    try:
        fields = Fields(checks.read_json(str(path), checks.RECORD_BYTES), str(path))
        milliseconds: float = fields.take("milliseconds", float, within=checks.POSITIVE_STATISTIC)
    except FastnasError as error:
        raise FastnasError(f"a stored latency is damaged: {error}; remove that file") from error
    return milliseconds


@contextmanager
def _failures_named() -> Iterator[None]:
    """Turn every error into the candidate's failure, but a lost board, which no other candidate would reach either."""
    try:
        yield
    except ConnectionLost as error:
        raise FastnasError(f"the board that measures latency is lost: {error}; continue with --resume") from error
    except (MissingPackage, ModuleNotFoundError):
        raise
    except Exception as error:  # ONNX Runtime's errors share no base class but this one
        raise_if_interrupted(error)
        raise CandidateFailed(f"latency: {first_line(error)}") from error


def _this_machine() -> list[str]:
    onnxruntime = import_extra("onnxruntime", "cpu")
    return [platform.node(), platform.processor(), str(os.cpu_count()), onnxruntime.__version__]


def _on_this_machine(spec: ModelSpec, size: tuple[int, int]) -> float:
    import onnxruntime

    from fastnas.deploy.export import optimised
    from fastnas.deploy.graph.capture import capture
    from fastnas.deploy.onnx.writer import INPUT, to_onnx

    network = build(spec).eval()
    graph, _ = optimised(capture(network), network)
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {INPUT: np.zeros((1, 3, *size), np.float32)}
    times = []
    for _ in range(WARM_UP + PASSES):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UP:])


def _on_board(host: tuple[str, int], spec: ModelSpec, size: tuple[int, int], precision: str, cache: Path) -> float:
    from fastnas.deploy.export import Options, export
    from fastnas.jetson.bench.measure import Settings, Workload
    from fastnas.jetson.bench.remote import measure_there
    from fastnas.jetson.sidecar import load

    # Always in the same folder, so that only the latest candidate's files stay on the board.
    exported = export(build(spec).eval(), spec, "candidate", cache / "latency", Options(size, fp16=precision == "fp16"))
    workload = Workload(load(str(exported.folder)), size, precision)
    report = measure_there(*host, [workload], Settings(rounds=1), False, None, lambda line: None)
    return float(report["rows"][0]["ms"]["compute"]["median"])


def split_host(text: str) -> tuple[str, int]:
    """`USER@HOST` or `USER@HOST:PORT` as host and port.

    Raises:
        FastnasError: it is no host, or the port is not from 1 to 65535.
    """
    host, colon, port = text.partition(":")
    try:
        parse_host(host)
    except ValueError as error:
        raise FastnasError(str(error)) from error
    if not colon:
        return host, SSH_PORT
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise FastnasError(f"{text!r} is not USER@HOST or USER@HOST:PORT")
    return host, int(port)
