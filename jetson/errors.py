"""The one error style of the device half: a line that says what is wrong, where, and what to do."""

from click import ClickException


class JetsonError(ClickException):
    """An error that a user can act on. Every command line of click prints its line and exits 1."""


class Unsupported(JetsonError):
    """This device cannot do it, whatever the user does; others may."""
