"""From settings to an evaluator: data, encoder and its stored outputs, once, before the first candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torchvision.transforms import v2

from fastnas.data.base import DenseDataset
from fastnas.data.transforms import Tensors
from fastnas.jetson.files import cache_root
from fastnas.models.encoder import Encoder, make_encoder
from fastnas.search.evaluation.data import SearchImages, open_images, train_crop, val_crop
from fastnas.search.evaluation.encoder_cache import CPU, Features, content_key, stored_features
from fastnas.search.evaluation.evaluator import Evaluator
from fastnas.search.settings import SearchSettings
from fastnas.train.evaluate import Predictor
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
    """The stored outputs for meta-train, under random crops, or for meta-val, the centre of each image."""
    how, task = settings.evaluation, data.task
    crop: v2.Transform
    if split == "train":
        data, views = limited(data, how.stage1_images), how.stage1_views
        scale = (how.scale_low, how.scale_high)
        crop = train_crop(task, how.stage1_crop, how.stage1_short_side, scale, encoder.normalisation)
    else:
        views, crop = 1, val_crop(task, how.stage1_crop, how.stage1_short_side, encoder.normalisation)
    settings_of_crops = {
        "split": split, "seed": settings.seed, "views": views, "crop": how.stage1_crop,
        "short_side": how.stage1_short_side, "scale": [how.scale_low, how.scale_high], "encoder": how.encoder,
        "teacher": _file_stamp(how.teacher) if split == "train" else "",
    }  # fmt: skip
    key = content_key(encoder, data, settings_of_crops)
    samples, count = SeededSamples([data], crop, derived_seed(settings.seed, 4)), views * len(data)

    def crops() -> Iterator[Tensors]:
        for view in range(views):
            for index in range(len(data)):
                yield samples[view, index]

    return stored_features(
        cache / "features",
        key,
        encoder,
        crops(),
        count,
        teacher=_teacher(settings, data, encoder, device) if split == "train" else None,
        device=device,
        progress=lambda done, count: notify(f"encoder outputs of meta-{split}", done, count),
    )


def _teacher(settings: SearchSettings, data: DenseDataset, encoder: Encoder, device: torch.device) -> Predictor | None:
    how = settings.evaluation
    if not (how.distillation and how.teacher):
        return None
    from fastnas.train.teacher import load_teacher

    return load_teacher(how.teacher, data.task, device, (how.stage1_crop, how.stage1_crop), encoder.normalisation)


def _file_stamp(source: str) -> str:
    """A teacher by its name, and by size and time of change where it is a file."""
    path = Path(source)
    if not source or not path.is_file():
        return source
    return f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
