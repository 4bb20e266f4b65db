"""An `Export` written as a dataset, with every image upright; nothing is left behind when it fails."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from fastnas.data import open_dataset
from fastnas.data.importing.export import Export, Label, LabelledImage, Log, People
from fastnas.data.importing.formats import read_export
from fastnas.data.importing.images import Photo
from fastnas.data.importing.near_duplicates import Frame, choose_validation, difference_hash, group_frames
from fastnas.data.importing.source import Source
from fastnas.data.progress import Track
from fastnas.data.show import draw_sheet
from fastnas.errors import FastnasError
from fastnas.files import locked
from fastnas.tasks import IGNORE, Pose, Segmentation

SPLITS = ("train", "val", "test")


@dataclass
class Written:
    """One image of the new dataset.

    Attributes:
        name: below images/, with suffix.
        split: train, val or test; None until it is chosen.
        frame: for the choice.
        pixels: of each class id, 256 counts.
        people: COCO annotations, for pose.
        size: (W, H).
    """

    name: str
    split: str | None
    frame: Frame
    size: tuple[int, int]
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    people: list[dict[str, Any]] = field(default_factory=list)


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
        turned: images with an EXIF orientation, which were turned.
        dropped: images and labels that were left out, a line each.
        notes: what was guessed or changed, a line each.
    """

    format: str
    dataset: str
    out: str
    images: dict[str, int]
    labels: list[dict[str, Any]]
    turned: int
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
        turned = Counter[bool]()
        written = list(_convert(files, export, folder, log, turned, track))
        if len(written) < 2:
            raise FastnasError(f"{source} has {len(written)} usable images, two are needed: {(log.dropped or [''])[0]}")
        _choose_splits(written, val_share, seed, log)
        if isinstance(export.task, Pose):
            labels = _write_people(folder, export.task, written)
        else:
            labels = _write_lists(folder, export.task, written, log)
        dataset = open_dataset(kind, folder, split="train")
        draw_sheet(dataset, folder / "preview.png", count=6)
    images = {split: sum(one.split == split for one in written) for split in SPLITS}
    images = {split: count for split, count in images.items() if count}
    return Summary(title, kind, str(out), images, labels, turned[True], log.dropped, log.notes)


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
    source: Source, export: Export, folder: Path, log: Log, turned: Counter[bool], track: Track
) -> Iterator[Written]:
    """Write every image and mask that is whole; the rest goes to `log`."""
    names = OutputNames([source.relative(sample.image) for sample in export.samples])
    for sample in track(export.samples, "writing images"):
        where = source.relative(sample.image)
        try:
            photo, notes = Photo(sample.image), list[str]()
            label = _fitted(sample, photo, notes)
        except FastnasError as error:
            log.dropped.append(f"{where}: {error}")
            continue
        log.notes += [f"{where}: {note}" for note in notes]
        turned[photo.turned] += 1
        name = names.new(where)
        target = folder / "images" / f"{name}{photo.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        photo.save(target)
        digest = hashlib.sha256(target.read_bytes()).digest()
        frame = Frame(name, digest, difference_hash(photo.rgb))
        one = Written(f"{name}{photo.suffix}", sample.split, frame, photo.rgb.size)
        if isinstance(label, list):
            one.people = label
        else:
            one.pixels = np.bincount(label.ravel(), minlength=256)
            assert isinstance(export.task, Segmentation)
            _save_mask(label, export.task, folder / "masks" / f"{name}.png")
        yield one


def _fitted(sample: LabelledImage, photo: Photo, notes: list[str]) -> Any:
    """The class ids or the people of an image."""
    if isinstance(sample.label, People):
        return sample.label.fitted(photo.rgb.size, notes.append)
    assert isinstance(sample.label, Label)
    return sample.label.ids(photo.rgb.size, notes.append)


def _save_mask(ids: np.ndarray, task: Segmentation, target: Path) -> None:
    """Class ids as a palette PNG in the colours of the classes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(ids)
    palette = bytearray(768)
    palette[: 3 * len(task.colours)] = bytes(value for colour in task.colours for value in colour)
    palette[3 * IGNORE :] = bytes((224, 224, 192))
    mask.putpalette(palette)
    mask.save(target)


class OutputNames:
    """Names below images/ and masks/: those of the source without unsafe characters, each once."""

    def __init__(self, paths: Sequence[str]) -> None:
        folders = [PurePosixPath(path).parent.parts for path in paths]
        shared = 0
        while all(len(parts) > shared and parts[shared] == folders[0][shared] for parts in folders):
            shared += 1
        self._shared = shared
        self._taken: set[str] = set()

    def new(self, path: str) -> str:
        """The name of a file of the source, without suffix; no other file gets it, in upper or lower case either."""
        parts = PurePosixPath(path).with_suffix("").parts[self._shared :]
        name = "/".join(safe_part(part) for part in parts)
        unique, number = name, 1
        while unique.casefold() in self._taken:
            number += 1
            unique = f"{name}-{number}"
        self._taken.add(unique.casefold())
        return unique


def safe_part(part: str) -> str:
    """A part of a path that any file system and a line of a list can hold."""
    return re.sub(r"[^\w.+@()\[\] -]", "_", part).strip(" .")[:100] or "_"


def _choose_splits(written: Sequence[Written], val_share: float, seed: int, log: Log) -> None:
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


def _write_lists(folder: Path, task: Segmentation, written: Sequence[Written], log: Log) -> list[dict[str, Any]]:
    """dataset.json and a list for each split."""
    _write_json(folder / "dataset.json", task.to_dict())
    counts: dict[str, Counter[int]] = {}
    pixels = np.zeros(256, dtype=np.int64)
    for split in SPLITS:
        here = [one for one in written if one.split == split]
        lines = [f"images/{one.name}\tmasks/{PurePosixPath(one.name).with_suffix('')}.png\n" for one in here]
        if lines:
            (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
        counts[split] = Counter(int(i) for one in here for i in np.flatnonzero(one.pixels))
        pixels += sum((one.pixels for one in here), np.zeros(256, dtype=np.int64))
    labelled = max(int(pixels.sum() - pixels[IGNORE]), 1)
    unseen = [name for class_id, name in enumerate(task.classes) if not counts["train"][class_id]]
    if unseen:
        log.notes.append(f"on no training image: {', '.join(unseen)}")
    present = [split for split in SPLITS if counts[split]]
    table = [
        {"class": name, "pixels": float(pixels[i] / labelled), **{split: counts[split][i] for split in present}}
        for i, name in enumerate(task.classes)
    ]
    if pixels[IGNORE]:
        ignored = {split: counts[split][IGNORE] for split in present}
        table.append({"class": "(ignored)", "pixels": float(pixels[IGNORE] / pixels.sum()), **ignored})
    return table


def _write_people(folder: Path, task: Pose, written: Sequence[Written]) -> list[dict[str, Any]]:
    """A COCO file for each split."""
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(task.joints),
        "skeleton": [[a + 1, b + 1] for a, b in task.skeleton],
    }
    seen = np.zeros(task.outputs, dtype=np.int64)
    number = 0
    for split in SPLITS:
        here = [(i, one) for i, one in enumerate(written, start=1) if one.split == split]
        images = [{"id": i, "file_name": one.name, "width": one.size[0], "height": one.size[1]} for i, one in here]
        people = []
        for i, one in here:
            for person in one.people:
                number += 1
                visible = np.array(person["keypoints"][2::3]) > 0
                seen += visible
                people.append(
                    {"id": number, "image_id": i, "category_id": 1, "iscrowd": 0, "num_keypoints": int(visible.sum()),
                     **person}
                )  # fmt: skip
        if here:
            content = {"images": images, "annotations": people, "categories": [category]}
            _write_json(folder / f"{split}.json", content)
    return [
        {"joint": name, "labelled": float(count / max(number, 1))}
        for name, count in zip(task.joints, seen, strict=True)
    ]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
