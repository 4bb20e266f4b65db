"""From settings to an evaluator: data, encoder and its stored outputs, once, before the first candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms import v2

from fastnas.data.base import DenseDataset
from fastnas.data.transforms import Tensors
from fastnas.jetson.files import cache_root
from fastnas.models.encoder import Encoder, make_encoder
from fastnas.search.evaluation.data import SearchImages, open_images, train_crop, val_crop
from fastnas.search.evaluation.encoder_cache import CPU, Features, content_key, stored_features
from fastnas.search.evaluation.evaluator import Evaluator
from fastnas.search.evaluation.scaled_teacher import ScaledTeacher
from fastnas.search.settings import SearchSettings
from fastnas.train.loaders import SeededSamples, derived_seed
from fastnas.train.settings import limited

Notify = Callable[[str, int, int], None]
"""Called with what is being prepared, how much of it is done, and how much there is."""


def prepare(
    settings: SearchSettings,
    *,
    cache: Path | None = None,
    device: torch.device = CPU,
    workers: int = 0,
    notify: Notify = lambda what, done, count: None,
) -> Evaluator:
    """Open the data, make the encoder, and compute its outputs unless they are stored already.

    Raises:
        FastnasError: data, weights or teacher cannot be had, or nothing can be stored.
    """
    cache = cache or cache_root()
    images = open_images(settings)
    encoder = _encoder(settings, images, cache, notify).eval().requires_grad_(False)
    encoder = encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    features = [
        _features(settings, part, split, encoder, cache, device, notify)
        for part, split in ((images.train, "train"), (images.val, "val"))
    ]
    if device.type == "cuda" and sum(each.nbytes for each in features) < torch.cuda.mem_get_info(device)[0] // 3:
        features = [each.to(device) for each in features]
    return Evaluator(settings.evaluation, images, encoder, features[0], features[1], device, workers)


def _encoder(settings: SearchSettings, images: SearchImages, cache: Path, notify: Notify) -> Encoder:
    how = settings.evaluation
    if how.encoder_weights != "scenes":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)  # of an encoder without pretrained weights: the same one on resuming
            return make_encoder(how.encoder, how.encoder_weights)
    from fastnas.search.evaluation.warmup import warmed_up

    return warmed_up(settings, images, cache, notify)


def _features(
    settings: SearchSettings,
    data: DenseDataset,
    split: str,
    encoder: Encoder,
    cache: Path,
    device: torch.device,
    notify: Notify,
) -> Features:
    """The stored outputs for meta-train, under random crops, or for meta-val, the crops of stage 2's evaluation."""
    how, task = settings.evaluation, data.task
    about: dict[str, Any] = {"split": split, "encoder": how.encoder}
    crop: v2.Transform
    teacher, views = None, 1
    if split == "train":
        data, views, scale = limited(data, how.stage1_images), how.stage1_views, (how.scale_low, how.scale_high)
        size = (how.stage1_crop, how.stage1_short_side)
        crop = train_crop(task, *size, scale, encoder.normalisation)
        about |= {"seed": settings.seed, "views": views, "scale": scale}
        if how.distillation and how.teacher:
            teacher = ScaledTeacher(how.teacher, data, *size, encoder.normalisation, device)
            about["teacher"] = _file_stamp(how.teacher)
    else:
        size = (how.stage2_crop, how.stage2_short_side)
        crop = val_crop(task, *size, encoder.normalisation)
    key = content_key(encoder, data, about | {"size": size})
    samples, count = SeededSamples([data], crop, derived_seed(settings.seed, 4)), views * len(data)

    def crops() -> Iterator[Tensors]:
        for view in range(views):
            for index in range(len(data)):
                original = {"original": data[index]["image"]} if teacher else {}
                yield samples[view, index] | original

    return stored_features(
        cache / "features",
        key,
        encoder,
        crops(),
        count,
        small_labels=split == "train",
        teacher=teacher,
        device=device,
        progress=lambda done, count: notify(f"encoder outputs of meta-{split}", done, count),
    )


def _file_stamp(source: str) -> str:
    """A teacher by its name, and by size and time of change where it is a file."""
    path = Path(source)
    if not source or not path.is_file():
        return source
    return f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
