"""The task of an output of an artifact, as its sidecar describes it: what a number means, and how it is drawn."""

from typing import Any, Callable, Dict, List

from fastnas.jetson import checks
from fastnas.jetson.checks import Fields

KINDS = ("segmentation", "pose", "depth")


def read_task(values: Any, where: str) -> Dict[str, Any]:
    """The task in JSON values; fields that nobody reads are dropped.

    Args:
        values: an object.
        where: what error messages call it.

    Raises:
        JetsonError: a field is missing or not allowed.
    """
    fields = Fields(values, where)
    task = {"kind": fields.take("kind", str, KINDS)}  # type: Dict[str, Any]
    if task["kind"] == "segmentation":
        task["classes"] = fields.take_list("classes", str, within=checks.CLASSES, each=checks.LABEL)
        task["colours"] = fields.take_list("colours", _integers(3, checks.COLOUR), within=checks.CLASSES)
        if len(task["classes"]) != len(task["colours"]):
            raise fields.error("colours", "must be as many as the classes")
    elif task["kind"] == "pose":
        task["joints"] = fields.take_list("joints", str, within=checks.JOINTS, each=checks.LABEL)
        joint = (0, len(task["joints"]) - 1)
        task["skeleton"] = fields.take_list("skeleton", _integers(2, joint), within=checks.BONES)
        task["mirror"] = fields.take_list("mirror", int, count=len(task["joints"]), each=joint)
    else:
        task["minimum"] = fields.take("minimum", float, within=checks.METRES)
        task["maximum"] = fields.take("maximum", float, within=checks.METRES)
        if task["minimum"] >= task["maximum"]:
            raise fields.error("minimum", "must be below maximum")
    return task


def _integers(count: int, each: checks.Limits) -> Callable[[Any, str], List[int]]:
    """A reader of lists of `count` whole numbers."""

    def read(item: Any, where: str) -> List[int]:
        return Fields({"item": item}, where).take_list("item", int, count=count, each=each)

    return read
