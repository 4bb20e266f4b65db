"""An `Export` written as a dataset, with every image upright; nothing is left behind when it fails."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastnas.data import open_dataset
from fastnas.data.importing.export import Export, Label, LabelledImage, Log, People
from fastnas.data.importing.formats import read_export
from fastnas.data.importing.images import UprightImage
from fastnas.data.importing.layout import SPLITS, OutputNames, WrittenImage, save_mask, write_lists, write_people
from fastnas.data.importing.near_duplicates import Frame, choose_validation, difference_hash, group_frames
from fastnas.data.importing.source import Source
from fastnas.data.progress import Track
from fastnas.data.show import draw_sheet
from fastnas.errors import FastnasError
from fastnas.files import locked
from fastnas.tasks import Pose, Segmentation


@dataclass
class Summary:
    """What an import did.

    Attributes:
        format: the format that was read.
        dataset: `folder` or `keypoints`.
        out: the folder that was written.
        images: images of each split.
        labels: for each class its share of the labelled pixels and its images in each split; for each joint how often
            it is labelled.
        rotated: images with an EXIF orientation, which were rotated.
        dropped: images and labels that were left out, a line each.
        notes: what was guessed or changed, a line each.
    """

    format: str
    dataset: str
    out: str
    images: dict[str, int]
    labels: list[dict[str, Any]]
    rotated: int
    dropped: list[str]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return asdict(self)


def import_dataset(
    source: Path,
    out: Path,
    format_name: str = "auto",
    colours: Path | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    track: Track = lambda things, title: things,
) -> Summary:
    """Read what a labelling tool wrote, and write it as the dataset `folder` or `keypoints`.

    Args:
        source: the tool's folder; it is only read.
        out: the new folder; it appears when all is written, with `preview.png`.
        format_name: one of `formats.FORMATS`, or `auto`.
        colours: a table of colours, for masks in colours.
        val_share: of validation, where the source has no validation split.
        seed: of that split.
        track: shows the progress.

    Raises:
        FastnasError: nothing to import, an unclear format, or `out` is not empty or inside of `source`.
    """
    _require_new(source, out)
    files, log = Source(source), Log()
    title, export = read_export(files, format_name, log, track, colours)
    for image in files.images:
        if image not in export.used:
            log.dropped.append(f"{files.relative(image)}: it has no labels")
    if not export.samples:
        raise FastnasError(f"{source} has no image with labels ({title}): {(log.dropped or ['it has no images'])[0]}")
    kind = "keypoints" if isinstance(export.task, Pose) else "folder"
    with new_folder(out) as folder:
        rotated = Counter[bool]()
        written = list(_convert(files, export, folder, log, rotated, track))
        if len(written) < 2:
            raise FastnasError(f"{source} has {len(written)} usable images, two are needed: {(log.dropped or [''])[0]}")
        _choose_splits(written, val_share, seed, log)
        if isinstance(export.task, Pose):
            labels = write_people(folder, export.task, written)
        else:
            labels = write_lists(folder, export.task, written, log)
        dataset = open_dataset(kind, folder, split="train")
        draw_sheet(dataset, folder / "preview.png", count=6)
    images = {split: sum(one.split == split for one in written) for split in SPLITS}
    images = {split: count for split, count in images.items() if count}
    return Summary(title, kind, str(out), images, labels, rotated[True], log.dropped, log.notes)


def _require_new(source: Path, out: Path) -> None:
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise FastnasError(f"{out} is there already and not empty: give a new folder")
    inside = source.resolve()
    if inside == out.resolve() or inside in out.resolve().parents:
        raise FastnasError(f"{out} is inside of {source}, which is only read: give a folder beside it")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` at the end, or is removed.

    A kill leaves it behind; the next import of the same name removes it.
    """
    temporary = out.parent / f".{out.name}.part"
    with locked(temporary, "importing"):
        try:
            for old in temporary.iterdir():
                if old.name != ".lock":
                    shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
            yield temporary
            (temporary / ".lock").unlink()
            temporary.rename(out)
        except OSError as error:
            raise FastnasError(f"cannot write {out}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _convert(
    source: Source, export: Export, folder: Path, log: Log, rotated: Counter[bool], track: Track
) -> Iterator[WrittenImage]:
    """Write every image and mask that is whole; the rest goes to `log`."""
    names = OutputNames([source.relative(sample.image) for sample in export.samples])
    for sample in track(export.samples, "writing images"):
        where = source.relative(sample.image)
        try:
            image, notes = UprightImage(sample.image), list[str]()
            label = _fitted(sample, image, notes)
        except FastnasError as error:
            log.dropped.append(f"{where}: {error}")
            continue
        log.notes += [f"{where}: {note}" for note in notes]
        rotated[image.rotated] += 1
        name = names.new(where)
        target = folder / "images" / f"{name}{image.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target)
        digest = hashlib.sha256(target.read_bytes()).digest()
        frame = Frame(name, digest, difference_hash(image.rgb))
        one = WrittenImage(f"{name}{image.suffix}", sample.split, frame, image.rgb.size)
        if isinstance(label, list):
            one.people = label
        else:
            one.pixels = np.bincount(label.ravel(), minlength=256)
            assert isinstance(export.task, Segmentation)
            save_mask(label, export.task, folder / "masks" / f"{name}.png")
        yield one


def _fitted(sample: LabelledImage, image: UprightImage, notes: list[str]) -> Any:
    """The class ids or the people of an image."""
    if isinstance(sample.label, People):
        return sample.label.fitted(image.rgb.size, notes.append)
    assert isinstance(sample.label, Label)
    return sample.label.ids(image.rgb.size, notes.append)


def _choose_splits(written: Sequence[WrittenImage], val_share: float, seed: int, log: Log) -> None:
    """Give every image a split: its own, or train or val by the frames that are alike."""
    has = Counter(one.split for one in written)
    if not has["train"] and not has[None]:
        log.notes.append(f"the source has no training split, only {', '.join(str(s) for s in has)}: all is split anew")
        for one in written:
            one.split = None
    groups = group_frames([one.frame for one in written])
    across = sum({"train", "val"} <= {written[i].split for i in group} for group in groups)
    if across:
        log.notes.append(f"{across} groups of near-duplicate images are in train and in val of the source")
    if any(one.split == "val" for one in written):
        for one in written:
            one.split = one.split or "train"
        return
    open_groups = [[i for i in group if written[i].split != "test"] for group in groups]
    open_groups = [group for group in open_groups if group]
    if sum(map(len, open_groups)) < 2:
        raise FastnasError("one image is left for training and validation: two are needed")
    chosen, cut = choose_validation(open_groups, val_share, seed)
    for group in open_groups:
        for i in group:
            written[i].split = "val" if i in chosen else "train"
    if cut:
        log.notes.append("the images are frames of one video: validation is its end, which is like the training images")
