"""Milliseconds that one image takes through a network once deployed: on this machine's processor, or on a board.

Measured once for every network, size and machine, and remembered in a cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from fastnas.errors import FastnasError, MissingPackage
from fastnas.jetson.files import atomic_path
from fastnas.models.spec import ModelSpec, build
from fastnas.search.settings import LimitSettings

WARM_UP, PASSES = 3, 15
"""Passes here before and during a measurement. The median counts: steadier than the mean on a busy machine."""
SSH_PORT = 22


def latency(spec: ModelSpec, limits: LimitSettings, cache: Path) -> float:
    """Milliseconds of one image at the limits' resolution, the median over many passes.

    On this machine that is ONNX Runtime on the CPU. On `limits.latency_host` it is what `fastnas jetson-bench --host`
    calls inference, with the engine that the board has.

    Args:
        spec: the network.
        limits: size, host and precision.
        cache: folder that remembers measurements, in `latency/`.

    Raises:
        MissingPackage: ONNX Runtime is not installed.
        FastnasError, JetsonError: the network cannot be exported, or the board not reached.
    """
    size = (limits.resolution, limits.resolution)
    where = [limits.latency_host, limits.latency_precision] if limits.latency_host else _this_machine()
    key = hashlib.sha256(json.dumps([spec.to_dict(), size, where], sort_keys=True).encode()).hexdigest()[:24]
    path = cache / "latency" / f"{key}.json"
    if path.is_file():
        return float(json.loads(path.read_text())["milliseconds"])
    milliseconds = _there(spec, size, limits, cache) if limits.latency_host else _here(spec, size)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"milliseconds": milliseconds, "architecture": spec.architecture}))
    return milliseconds


def _this_machine() -> list[str]:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingPackage("onnxruntime", "cpu") from error
    return [platform.node(), platform.processor(), str(os.cpu_count()), onnxruntime.__version__]


def _here(spec: ModelSpec, size: tuple[int, int]) -> float:
    import onnxruntime

    from fastnas.deploy.export import Options, optimised
    from fastnas.deploy.graph.capture import capture
    from fastnas.deploy.onnx.writer import INPUT, to_onnx

    network = build(spec).eval()
    graph, _ = optimised(capture(network), network, Options(size))
    session = onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {INPUT: np.zeros((1, 3, *size), np.float32)}
    times = []
    for _ in range(WARM_UP + PASSES):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UP:])


def _there(spec: ModelSpec, size: tuple[int, int], limits: LimitSettings, cache: Path) -> float:
    from fastnas.deploy.export import Options, export
    from fastnas.jetson.bench.measure import Settings, Workload
    from fastnas.jetson.bench.remote import measure_there
    from fastnas.jetson.sidecar import load

    host, port = split_host(str(limits.latency_host))
    precision = limits.latency_precision
    # Always in the same folder, so that the board keeps one candidate's files and not all of them.
    exported = export(build(spec).eval(), spec, "candidate", cache / "latency", Options(size, fp16=precision == "fp16"))
    workload = Workload(load(str(exported.folder)), size, precision)
    report = measure_there(host, port, [workload], Settings(rounds=1), False, None, lambda line: None)
    return float(report["rows"][0]["ms"]["compute"]["median"])


def split_host(text: str) -> tuple[str, int]:
    """`USER@HOST` or `USER@HOST:PORT` as host and port.

    Raises:
        FastnasError: the port is not from 1 to 65535.
    """
    host, colon, port = text.partition(":")
    if not colon:
        return host, SSH_PORT
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise FastnasError(f"{text!r} is not USER@HOST or USER@HOST:PORT")
    return host, int(port)
