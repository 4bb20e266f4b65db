"""The one error style of the device half: a line that says what is wrong, where, and what to do."""

from click import ClickException


class JetsonError(ClickException):
    """An error that a user can act on. Every command line of click prints its line and exits 1."""


class Unsupported(JetsonError):
    """This device cannot do it, whatever the user does; others may."""


def first_line(error: BaseException) -> str:
    """What a library's error says first; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


ADD_SWAP = "sudo fallocate -l 4G /swap && sudo chmod 600 /swap && sudo mkswap /swap && sudo swapon /swap"

MORE_MEMORY = "close other programs, take a smaller size, or add swap: " + ADD_SWAP
"""What to do where a board's memory does not suffice; its GPU uses the same."""
