"""The stand-ins' messages: fields by name and type, checked when they are set, as rosidl's generated classes do."""

from array import array


def message_class(title, **fields):
    """A class of messages.

    Args:
        title: of the class.
        fields: default values, whose types the values must have; of a number the least and most instead.
    """

    def __init__(self, **values):
        unknown = set(values) - set(fields)
        assert not unknown, "Invalid arguments passed to constructor: {}".format(unknown)
        for field, kind in fields.items():
            setattr(self, field, values.get(field, 0 if isinstance(kind, tuple) else kind()))

    def __setattr__(self, field, value):
        kind = fields[field]  # __slots__: there is no other
        if isinstance(kind, tuple):
            assert isinstance(value, int), (title, field, value)
            assert kind[0] <= value <= kind[1], (title, field, value)
        elif kind is array_of_bytes:
            # Others are allowed, but each of their numbers is looked at, in Python: half a second for a large image.
            assert isinstance(value, array), (title, field, type(value))
            assert value.typecode == "B", (title, field, value.typecode)
        else:
            assert isinstance(value, kind), (title, field, type(value))
        object.__setattr__(self, field, value)

    return type(title, (), {"__init__": __init__, "__setattr__": __setattr__, "__doc__": "A message."})


def array_of_bytes():
    """The default of `uint8[]`."""
    return array("B")


UINT8, UINT32, INT32 = (0, 2**8 - 1), (0, 2**32 - 1), (-(2**31), 2**31 - 1)
Time = message_class("Time", sec=INT32, nanosec=UINT32)
