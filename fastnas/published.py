"""Results published in the paper, to print beside ours and never instead of them."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A row of the paper's Table 1: Pascal VOC val, 512x512 images, MobileNet-v2.

    Attributes:
        miou: mean IoU in percent.
        multiply_adds: in G.
        parameters: in M.
        output: height and width of the output.
    """

    miou: float
    multiply_adds: float
    parameters: float
    output: int


TABLE_1: dict[str, Row] = {
    "deeplabv3-aspp-mbv2": Row(75.7, 5.8, 4.5, 32),
    "deeplabv3-mbv2": Row(75.9, 8.73, 2.1, 64),
    "rflw-mbv2": Row(76.2, 9.3, 3.3, 128),
    "arch0": Row(78.0, 4.47, 2.6, 128),
    "arch1": Row(77.1, 2.95, 2.8, 64),
    "arch2": Row(77.3, 3.47, 2.9, 64),
}
"""Our name of a network -> its row."""

TX2_MS: dict[str, tuple[float, float]] = {"arch0": (109.36, 0.39), "arch1": (67.57, 0.54), "arch2": (64.60, 0.33)}
"""The same table's time on a Jetson TX2 at 512x512: mean and std, ms."""


class Evaluation(NamedTuple):
    """A row of one of the paper's tables.

    Attributes:
        table: where it stands.
        metrics: by their names here, as fractions of 1 or in their units.
    """

    table: str
    metrics: dict[str, float]


def evaluation(data: str, architecture: str) -> Evaluation | None:
    """What the paper gives for an architecture on the validation images of a dataset, if anything.

    The searched networks have MobileNet-v2 for an encoder, those of `cityscapes` ResNet-50.
    """
    table, names, rows = _EVALUATIONS.get(data, ("", (), {}))
    values = rows.get(architecture)
    return Evaluation(table, dict(zip(names, values, strict=True))) if values else None


_EVALUATIONS: dict[str, tuple[str, tuple[str, ...], dict[str, tuple[float, ...]]]] = {
    "voc": ("Table 1", ("mean_iou",), {name: (row.miou / 100,) for name, row in TABLE_1.items()}),
    "cityscapes": (
        "Table 6",
        ("mean_iou",),
        {
            "arch0": (0.771,),
            "arch1": (0.773,),
            "arch2": (0.760,),
            "deeplabv3plus-xception65": (0.788,),
            "bisenet-resnet18": (0.786,),
        },
    ),
    "mpii": (
        "Table 2",
        ("PCKh@0.5", "PCKh@0.11"),  # the table calls the second @0.1: see fastnas.tasks.pose_metrics
        {
            "arch0": (0.865, 0.314),
            "arch1": (0.870, 0.320),
            "arch2": (0.871, 0.318),
            "deeplabv3plus-mbv2": (0.866, 0.317),
            "simplepose-resnet50": (0.885, 0.339),
        },
    ),
    "coco": (
        "Table 8",
        ("AP", "AP50", "AP75", "APm", "APl", "AR"),
        {
            "arch0": (0.658, 0.894, 0.730, 0.631, 0.701, 0.691),
            "arch1": (0.659, 0.884, 0.729, 0.633, 0.698, 0.694),
            "arch2": (0.659, 0.890, 0.729, 0.631, 0.700, 0.693),
            "deeplabv3plus-mbv2": (0.668, 0.894, 0.740, 0.641, 0.707, 0.700),
            "simplepose-resnet50": (0.704, 0.886, 0.783, 0.671, 0.772, 0.763),
        },
    ),
    "nyud": (
        "Table 3",
        ("rmse", "rmse_log", "abs_rel", "sqr_rel", "delta1", "delta2", "delta3"),
        {
            "arch0": (0.523, 0.184, 0.136, 0.089, 0.830, 0.967, 0.992),
            "arch1": (0.526, 0.183, 0.131, 0.086, 0.832, 0.968, 0.992),
            "arch2": (0.525, 0.189, 0.140, 0.093, 0.820, 0.966, 0.992),
        },
    ),
}
"""Dataset -> the table, its columns, and the rows by architecture."""
