"""Training recipes: the paper's (Sects. 4.1-4.5 and its supplement), and ours for smaller datasets.

The paper gives auxiliary weights for VOC's full training alone, and no weight decay: `Phase`'s 0.3 and `Optimiser`'s
1e-5 are ours. Other values that it leaves open are marked "ours" where they are set; `train/settings.py` explains the
fields.
"""

from __future__ import annotations

from dataclasses import replace

from fastnas.train.settings import Optimiser, Phase, Recipe

_SGD, _ADAM = Optimiser("sgd", 1e-3), Optimiser("adam", 3e-3)

_VOC = Recipe(
    name="voc",
    task="segmentation",
    # The four auxiliary weights belong to the three phases and the second half of the last.
    phases=(
        Phase(("coco", "voc:trainaug"), 30, 1.0, 0.3),
        Phase(("voc:trainaug",), 50, 0.5, 0.25),
        Phase(("voc",), 50, 0.25, 0.2),
        Phase(("voc",), 50, 0.125, 0.15, freeze_bn=True),
    ),
    encoder=_SGD,
    decoder=_ADAM,
    batch=64,
    crop=(450, 450),
)

# The paper's encoder was trained on COCO's masks with Light-Weight RefineNet (Sect. 4.1); how, it does not say. Ours is
# the first phase of VOC's, without distillation.
_COCO = replace(_VOC, name="coco", phases=(Phase(("coco",), 30),), distillation=0.0)

_POSE_ADAM = Optimiser("adam", 1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

_MPII = Recipe(
    name="mpii",
    task="pose",
    phases=(Phase(("mpii",), 140),),
    encoder=_POSE_ADAM,
    decoder=_POSE_ADAM,
    schedule="step",
    milestones=(90, 120),
    batch=128,
    crop=(256, 256),
    scale=(0.75, 1.25),
    rotation=30.0,
)

# Ours, for a first try: about ten minutes on two cores.
_SYNTHETIC = Recipe(
    name="synthetic",
    task="segmentation",
    phases=(Phase(("synthetic",), 5, 1.0, 0.15),),
    encoder=Optimiser("sgd", 1e-2, clip=3.0),
    decoder=Optimiser("adam", 3e-3, clip=3.0),
    schedule="poly",
    batch=16,
    crop=(128, 128),
    scale=(0.75, 1.5),
    polyak=0.98,
    val_size=(128, 128),
)

_ALL = ("segmentation=synthetic", "depth=synthetic", "pose=synthetic")

# Ours, for several tasks: crops of the size of a camera's frames, in which people stand at any size, and lower learning
# rates, with which poses are not unlearned (docs/results.md, "One network for three tasks").
_TRIO = Recipe(
    name="trio",
    task="multi",
    phases=(Phase(_ALL, 60, 1.0, 0.15),),
    encoder=Optimiser("sgd", 2e-3, clip=3.0),
    decoder=Optimiser("adam", 5e-4, clip=3.0),
    schedule="poly",
    batch=12,
    crop=(288, 384),
    scale=(0.7, 1.6),
    polyak=0.98,
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _VOC,
        # Sect. 4.2 trains on SBD + VOC, then on VOC, without EMA or distillation.
        replace(
            _VOC,
            name="voc-ablation",
            phases=(Phase(("voc:trainaug",), 20, 1.0, 0.3), Phase(("voc",), 30, 0.5, 0.25)),
            distillation=0.0,
        ),
        Recipe(
            name="cityscapes",
            task="segmentation",
            phases=(Phase(("cityscapes",), 500),),
            encoder=Optimiser("sgd", 1e-2),
            decoder=Optimiser("sgd", 5e-2),
            schedule="poly",
            batch=20,
            crop=(800, 800),
        ),
        Recipe(
            name="nyud",
            task="depth",
            phases=(Phase(("nyud",), 300),),
            encoder=Optimiser("sgd", 1e-3),
            decoder=Optimiser("sgd", 7e-3),
            schedule="poly",
            horizon=400,
            batch=32,
            crop=(500, 500),
        ),
        _COCO,
        _MPII,
        replace(
            _MPII,
            name="coco-pose",
            phases=(Phase(("coco",), 140),),
            crop=(256, 192),
            val_size=(256, 192),
            scale=(0.7, 1.3),
            rotation=40.0,
        ),
        # Ours, for small datasets and a CPU: fewer steps; the EMA makes short runs steadier.
        Recipe(
            name="camvid",
            task="segmentation",
            phases=(Phase(("camvid",), 60, 1.0, 0.15),),
            encoder=Optimiser("sgd", 1e-2, clip=3.0),
            decoder=Optimiser("adam", 3e-3, clip=3.0),
            schedule="poly",
            batch=8,
            crop=(320, 320),
            scale=(0.7, 2.0),
            polyak=0.98,
        ),
        Recipe(
            name="nyud-small",
            task="depth",
            phases=(Phase(("nyud",), 40, 1.0, 0.15),),
            encoder=Optimiser("sgd", 1e-2, clip=3.0),
            decoder=Optimiser("adam", 3e-3, clip=3.0),
            schedule="poly",
            batch=8,
            crop=(192, 256),
            scale=(1.0, 1.5),
            polyak=0.98,
        ),
        Recipe(
            name="pose-small",
            task="pose",
            phases=(Phase(("keypoints",), 60, 1.0, 0.15),),
            encoder=Optimiser("adam", 3e-4, betas=(0.9, 0.999), eps=1e-8, clip=3.0),
            decoder=Optimiser("adam", 1e-3, betas=(0.9, 0.999), eps=1e-8, clip=3.0),
            schedule="poly",
            batch=16,
            crop=(256, 256),
            scale=(0.75, 1.25),
            rotation=30.0,
            polyak=0.98,
        ),
        _TRIO,
        _SYNTHETIC,
        replace(_SYNTHETIC, name="synthetic-depth", task="depth"),
        replace(_SYNTHETIC, name="synthetic-pose", task="pose"),
        replace(_SYNTHETIC, name="synthetic-trio", task="multi", phases=(replace(_SYNTHETIC.phases[0], data=_ALL),)),
    )
}
"""Name -> recipe."""

USUAL: dict[tuple[str, str], str] = {
    ("voc", "segmentation"): "voc",
    ("cityscapes", "segmentation"): "cityscapes",
    ("camvid", "segmentation"): "camvid",
    ("folder", "segmentation"): "camvid",
    ("nyud", "depth"): "nyud",
    ("folder", "depth"): "nyud-small",
    ("mpii", "pose"): "mpii",
    ("coco", "segmentation"): "coco",
    ("coco", "pose"): "coco-pose",
    ("keypoints", "pose"): "pose-small",
    ("synthetic", "segmentation"): "synthetic",
    ("synthetic", "depth"): "synthetic-depth",
    ("synthetic", "pose"): "synthetic-pose",
    ("synthetic", "multi"): "synthetic-trio",
}
"""The recipe for a dataset and kind of task when none is named."""

ENCODER = {"cityscapes": "resnet50"}
"""The encoder of a recipe where it is another than MobileNet-v2, when none is named: the paper's Table 6."""
