"""From what labelling tools export to the datasets `folder` and `keypoints`.

A module of `formats` reads one tool's files into an `Export` (`export.py`): a task and a list of images with their
labels. `convert.py` writes an `Export` as a dataset, whichever format it came from.
"""

FORMATS = (
    "coco", "coco-keypoints", "yolo", "labelme", "cvat", "voc", "supervisely", "roboflow", "masks", "colours",
)  # fmt: skip
"""The names of the formats, each a module of `formats`."""
