"""Reading typed values of JSON: every error message is one line that names the field."""

from typing import Any, Callable, List, Optional, Tuple, Union

from fastnas.jetson.errors import JetsonError

_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


class Fields:
    """The fields of one JSON object, taken by name and type.

    Attributes:
        values: the object.
        where: what error messages call it, such as `arch0/model.json: input`.
    """

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict):
            raise JetsonError("{} must be an object, not {}".format(where, _describe(values)))
        self.values = values
        self.where = where

    def take(self, name: str, kind: type, choices: Tuple[Any, ...] = (), optional: bool = False) -> Any:
        """The field `name` as `kind` (a whole number is a number too); None if it is optional and null or absent."""
        value = self.values.get(name)
        if value is None and optional:
            return None
        if name not in self.values:
            raise self.error(name, "is missing")
        if not _is(value, kind):
            raise self.error(name, "must be {}, not {}".format(_NAMES[kind], _describe(value)))
        if choices and value not in choices:
            raise self.error(name, "must be one of {}, not {!r}".format(", ".join(map(str, choices)), value))
        return value

    def take_list(
        self,
        name: str,
        kind: Union[type, Callable[[Any, str], Any]],
        count: Optional[int] = None,
        optional: bool = False,
    ) -> List[Any]:
        """The field `name` as a list of `kind`: a type, or a function of (value, where) that reads one item."""
        items = self.take(name, list, optional=optional)
        if items is None:
            return []
        if count is not None and len(items) != count:
            raise self.error(name, "must have {} items, not {}".format(count, len(items)))
        read = []
        for index, item in enumerate(items):
            if not isinstance(kind, type):
                read.append(kind(item, "{}.{}[{}]".format(self.where, name, index)))
            elif _is(item, kind):
                read.append(item)
            else:
                place = "{}[{}]".format(name, index)
                raise self.error(place, "must be {}, not {}".format(_NAMES[kind], _describe(item)))
        return read

    def error(self, name: str, text: str) -> JetsonError:
        """The error about a field, to be raised."""
        return JetsonError("{}.{} {}".format(self.where, name, text))


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _describe(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
