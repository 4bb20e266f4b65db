"""Evaluating candidates on many processes and machines, with Ray.

Only the driver writes the run folder and updates the controller; Ray evaluates. Each evaluation is a task with its
share of CPUs and GPUs. What all of them need is put into Ray's object store once: every node fetches it once, and its
processes read the encoder outputs there without a copy. Images, which stage 2 reads, must be at the same path on every
node.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
import socket
import warnings
from typing import Any

import torch
from torch import Tensor

from fastnas.errors import FastnasError, import_extra
from fastnas.search.driver import Job, Outcome, View
from fastnas.search.evaluation.data import CachedSamples, SearchImages
from fastnas.search.evaluation.encoder_cache import Features
from fastnas.search.evaluation.evaluator import Evaluator

LOCAL = "local"
"""The address that starts Ray on this machine."""
RETRIES = 2
"""How often a candidate is tried again when its process or machine dies; then it is recorded as failed."""


class RayWorkers:
    """Evaluates candidates on a Ray cluster; a context manager.

    Attributes:
        capacity: evaluations that run at a time; follows the cluster when nodes come and go.
        ordered: see `Workers`.

    Args:
        evaluator: of this process; each of the cluster's takes a copy to its own device.
        view: is told which candidates are submitted.
        address: `HOST:PORT` of a running cluster's head, `auto`, or `local` to start Ray on this machine.
        cpus: CPUs of one evaluation, which are also its threads.
        gpus: GPUs of one evaluation; a share such as 0.5 puts two on one GPU, 0 trains on the CPU.
        init: further options of `ray.init`.

    Raises:
        MissingPackage: Ray is not installed.
        FastnasError: there is no cluster at the address, or it has no room for a single evaluation.
    """

    ordered = False

    def __init__(
        self,
        evaluator: Evaluator,
        view: View,
        address: str = LOCAL,
        *,
        cpus: float = 1,
        gpus: float = 0,
        **init: Any,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        ray = import_extra("ray", "ray")
        self.view = view
        self._share = {share: amount for share, amount in (("CPU", cpus), ("GPU", gpus)) if amount}
        self._ray = ray
        self._jobs: dict[Any, Job] = {}
        if address == LOCAL:
            init = {"include_dashboard": False, **init}
        else:
            _require_answer(address)
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **init)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise FastnasError(f"no Ray cluster at {address}: {error}; start one with: ray start --head") from error
        ray.util.register_serializer(Features, serializer=_to_arrays, deserializer=_from_arrays)
        self.capacity = self._slots()
        if not self.capacity:
            ray.shutdown()
            raise FastnasError(f"the cluster at {address} has no node with {cpus:g} CPUs and {gpus:g} GPUs")
        # In a list, so that Ray hands over the reference and each process unpacks it once, not for every task.
        self._shared = [ray.put(_portable(evaluator))]
        self._task = ray.remote(_evaluate).options(
            num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, scheduling_strategy="SPREAD"
        )

    def submit(self, job: Job) -> None:
        """See `Workers`."""
        self.view.stage(job.candidate, "submitted to the cluster")
        self._jobs[self._task.remote(self._shared, job, dict(self._share))] = job

    def next(self) -> Outcome:
        """See `Workers`. A candidate whose process died at every try is an outcome without an evaluation."""
        (ready,), _ = self._ray.wait(list(self._jobs), num_returns=1)
        job = self._jobs.pop(ready)
        self.capacity = max(1, self._slots())
        try:
            outcome: Outcome = self._ray.get(ready)
        except self._ray.exceptions.RayTaskError:
            raise  # a fault of the evaluation, as in this process
        except self._ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:300]
            return Outcome(job, None, f"its process died {RETRIES + 1} times: {reason}")
        return outcome

    def _slots(self) -> int:
        """How many evaluations run at a time on the nodes that are alive."""
        resources = (node["Resources"] for node in self._ray.nodes() if node["Alive"])
        return sum(int(min(has.get(name, 0) / amount for name, amount in self._share.items())) for has in resources)

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()


def _require_answer(address: str) -> None:
    """Connect to an address of the form `HOST:PORT`: Ray itself would wait for minutes, and then end the process."""
    host, colon, port = address.rpartition(":")
    if address == "auto":
        return
    try:
        if not (host and colon and port.isdigit()):
            raise OSError("an address is HOST:PORT, or auto")
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise FastnasError(f"no Ray cluster at {address}: {error}; start one with: ray start --head") from error


_unpacked: dict[str, Evaluator] = {}
"""In a worker process: the evaluator of its search, by the key of the object it was unpacked from."""


def _evaluate(shared: list[Any], job: Job, share: dict[str, float]) -> Outcome:
    """Evaluate a job in a worker process."""
    import ray

    key = shared[0].hex()
    if key not in _unpacked:
        _unpacked.clear()
        torch.set_num_threads(max(1, int(share.get("CPU", 1))))
        _unpacked[key] = _placed(ray.get(shared[0]), torch.device("cuda" if "GPU" in share else "cpu"))
    return job.run(_unpacked[key])


def _portable(evaluator: Evaluator) -> Evaluator:
    """The evaluator on the CPU, without the decoded images that this process has cached."""
    cpu = torch.device("cpu")
    train, val = (
        CachedSamples(part.whole) if isinstance(part, CachedSamples) else part
        for part in (evaluator.images.train, evaluator.images.val)
    )
    return dataclasses.replace(
        evaluator,
        images=SearchImages(train, val),
        encoder=copy.deepcopy(evaluator.encoder).to(cpu),
        train=evaluator.train.to(cpu),
        val=evaluator.val.to(cpu),
        device=cpu,
    )


def _placed(evaluator: Evaluator, device: torch.device) -> Evaluator:
    """The evaluator on a device. Its encoder outputs go there batch by batch: a GPU may have several processes."""
    encoder = evaluator.encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return dataclasses.replace(evaluator, encoder=encoder, device=device)


def _to_arrays(features: Features) -> tuple[Any, ...]:
    """Features as arrays, which Ray stores and shares without copying; tensors it would copy into each process."""
    labels = {name: value.numpy() for name, value in features.labels.items()}
    teacher = None if features.teacher is None else features.teacher.numpy()
    return [each.numpy() for each in features.maps], labels, teacher, features.image_size


def _from_arrays(arrays: tuple[Any, ...]) -> Features:
    maps, labels, teacher, image_size = arrays
    return Features(
        tuple(map(_tensor, maps)),
        {name: _tensor(value) for name, value in labels.items()},
        None if teacher is None else _tensor(teacher),
        image_size,
    )


def _tensor(array: Any) -> Tensor:
    """A read-only array of the object store as a tensor, which must not be written to either."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
