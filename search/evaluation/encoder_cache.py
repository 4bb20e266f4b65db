"""Encoder outputs, computed once and shared by every candidate of every run (paper Sect. 3.2.1).

In stage 1 the encoder is frozen, so its outputs for an image never change. They are stored as float16 with the channels
innermost, memory-mapped, in a folder whose name is a hash of everything that they depend on.

Shapes: M stored crops, H_i W_i C_i of encoder output i, h w of the largest of them, K task outputs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from fastnas.data.base import DenseDataset
from fastnas.data.transforms import Tensors, collate
from fastnas.errors import FastnasError, first_line
from fastnas.jetson.files import atomic_folder, recover
from fastnas.models.encoder import Encoder
from fastnas.storing import write_tensors

FORMAT = 2
"""Raised when what is stored, or how, changes."""
COMPUTE_BATCH = 16
DENSE_LABELS = ("mask", "depth")

CPU = torch.device("cpu")
Progress = Callable[[int, int], None]
Teacher = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Features:
    """Stored encoder outputs of crops, with their labels.

    Attributes:
        maps: encoder outputs, shallow to deep: float16 [M, H_i, W_i, C_i].
        labels: per crop; masks and depths at `image_size`, the rest as the transform gave it.
        teacher: logits float16 [M, h, w, K] of a teacher, or None.
        image_size: (H, W) that predictions are made for: the crop's, or h x w where dense labels are stored small.
    """

    maps: tuple[Tensor, ...]
    labels: dict[str, Tensor]
    teacher: Tensor | None
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.maps[0])

    @property
    def nbytes(self) -> int:
        """Size of the maps and the teacher's logits."""
        return sum(each.nbytes for each in (*self.maps, *([] if self.teacher is None else [self.teacher])))

    def to(self, device: torch.device) -> Features:
        """The same on a device."""
        teacher = None if self.teacher is None else self.teacher.to(device)
        labels = {name: value.to(device) for name, value in self.labels.items()}
        return Features(tuple(each.to(device) for each in self.maps), labels, teacher, self.image_size)

    def inputs(self, indices: Tensor, used: Sequence[int]) -> list[Tensor]:
        """The decoder's inputs for some crops: float32 [N, C_i, H_i, W_i], channels last.

        Of encoder outputs that are not in `used` there is only the shape, and the file is not read.
        """
        return [
            each[indices].permute(0, 3, 1, 2).float()
            if i in used
            else each.new_zeros((), dtype=torch.float32).expand(len(indices), each.shape[3], *each.shape[1:3])
            for i, each in enumerate(self.maps)
        ]

    def batch(self, indices: Tensor) -> dict[str, Any]:
        """The labels of some crops, for losses and metrics. Of the image there is only the size."""
        image = torch.zeros(()).expand(len(indices), 3, *self.image_size)
        return {"image": image, **{name: value[indices] for name, value in self.labels.items()}}

    def targets(self, indices: Tensor) -> Tensor | None:
        """The teacher's logits for some crops, float32 [N, K, h, w]."""
        return None if self.teacher is None else self.teacher[indices].permute(0, 3, 1, 2).float()


def stored_features(
    cache: Path,
    key: str,
    encoder: Encoder,
    samples: Iterable[Tensors],
    count: int,
    *,
    small_labels: bool,
    teacher: Teacher | None = None,
    device: torch.device = CPU,
    progress: Progress = lambda done, count: None,
) -> Features:
    """The features under `key`, computed now unless an earlier run has left them there.

    Args:
        cache: folder of all stored features.
        key: see `content_key`.
        encoder: frozen, in evaluation mode.
        samples: `count` transformed samples of one size, with a teacher each with the `original` image; read only if
            needed.
        small_labels: store masks and depths at h x w, enough to train on, instead of the crop's size.
        teacher: from an original image and a crop's `to_image` to the crop's logits [1, K, h', w'].
        device: where encoder and teacher are.
        progress: called with the number of samples done, and of all.

    Raises:
        FastnasError: the disk is full or the folder cannot be written.
    """
    folder = cache / key
    if not (folder / "about.json").is_file():
        recover(cache)
        with atomic_folder(folder) as fresh:
            _compute(fresh, encoder, samples, count, small_labels, teacher, device, progress)
    return load_features(folder)


def load_features(folder: Path) -> Features:
    """Stored features, memory-mapped: pages are read when a batch needs them, and shared between processes.

    Raises:
        FastnasError: they are damaged.
    """
    try:
        about = json.loads((folder / "about.json").read_text())
        maps = tuple(_mapped(folder / f"output{i}.npy") for i in range(about["outputs"]))
        teacher = _mapped(folder / "teacher.npy") if about["teacher"] else None
        height, width = about["image_size"]
        return Features(maps, load_file(folder / "labels.safetensors"), teacher, (height, width))
    except Exception as error:  # NumPy and safetensors let many kinds of errors out for damaged files
        raise FastnasError(
            f"the stored encoder outputs in {folder} are damaged ({first_line(error)}): remove that folder"
        ) from error


def content_key(encoder: Encoder, data: DenseDataset, settings: Mapping[str, Any]) -> str:
    """A name for features that changes with anything that they depend on.

    Data is recognised by its task, its length and the content of eight samples spread over it.

    Args:
        encoder: its weights and its normalisation are part of the key.
        data: the images, before their transform.
        settings: everything else, as plain values.
    """
    digest = hashlib.sha256()
    values = {
        "format": FORMAT, "task": data.task.to_dict(), "data": data.name, "count": len(data),
        "normalisation": encoder.normalisation, **settings,
    }  # fmt: skip
    digest.update(json.dumps(values, sort_keys=True).encode())
    digest.update(weights_hash(encoder).encode())
    for i in sorted({i * (len(data) - 1) // 7 for i in range(8)}):
        sample = data[i]
        for name in sorted(sample):
            value = sample[name]  # type: ignore[literal-required]
            digest.update(name.encode())
            digest.update(value.numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode())
    return digest.hexdigest()[:24]


def weights_hash(module: nn.Module) -> str:
    """A hash of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _compute(
    folder: Path,
    encoder: Encoder,
    samples: Iterable[Tensors],
    count: int,
    small_labels: bool,
    teacher: Teacher | None,
    device: torch.device,
    progress: Progress,
) -> None:
    """Write the features of all samples into a folder."""
    files: dict[str, npt.NDArray[np.float16]] = {}
    labels: dict[str, list[Tensor]] = {}
    image_size, done = (0, 0), 0
    for crops in _batches(samples):
        originals = [crop.pop("original") for crop in crops] if teacher else []
        batch = collate(crops)
        images = batch.pop("image").to(device)
        with torch.inference_mode():
            outputs = encoder(images.contiguous(memory_format=torch.channels_last))
            maps = {f"output{i}": output for i, output in enumerate(outputs)}
            size = max(tuple(output.shape[2:]) for output in outputs)
            if teacher is not None:
                views = zip(originals, batch["to_image"], strict=True)
                maps["teacher"] = torch.cat([_logits_at_size(teacher(*view), size) for view in views])
        for name, value in maps.items():
            rows = value.permute(0, 2, 3, 1).to("cpu", torch.float16).numpy()
            if name not in files:
                shape = (count, *rows.shape[1:])
                files[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype=np.float16, shape=shape)
                _reserve(folder / f"{name}.npy")
            files[name][done : done + len(rows)] = rows
        for name, value in batch.items():
            if isinstance(value, Tensor):
                small = small_labels and name in DENSE_LABELS
                labels.setdefault(name, []).append(_at_size(value, size) if small else value)
        small = small_labels and any(name in batch for name in DENSE_LABELS)
        image_size = size if small else tuple(images.shape[2:])
        done += len(images)
        progress(done, count)
    for file in files.values():
        file.flush()  # type: ignore[attr-defined]
    write_tensors(folder / "labels.safetensors", {name: torch.cat(parts) for name, parts in labels.items()})
    about = {"outputs": len(files) - (teacher is not None), "teacher": teacher is not None, "image_size": image_size}
    (folder / "about.json").write_text(json.dumps(about))


def _reserve(path: Path) -> None:
    """Allocate a file's blocks now: a full disk found through a memory map would kill the process with SIGBUS."""
    with open(path, "rb+") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _batches(samples: Iterable[Tensors]) -> Iterator[list[Tensors]]:
    remaining = iter(samples)
    while batch := list(islice(remaining, COMPUTE_BATCH)):
        yield batch


def _logits_at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """A teacher's logits at h x w; those that are larger are averaged rather than sampled."""
    return F.interpolate(logits.float(), size=size, mode="bilinear", antialias=True)


def _at_size(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels [N, H, W] at h x w by nearest neighbour, so that no two are mixed."""
    small = F.interpolate(labels[:, None].float(), size=size, mode="nearest-exact")[:, 0]
    return small.to(labels.dtype).as_subclass(Tensor)


def _mapped(path: Path) -> Tensor:
    # Copy-on-write: torch wants memory that may be written, and the file must never be.
    return torch.from_numpy(np.load(path, mmap_mode="c"))
