"""Errors that a user can act on, and the click group that prints them as one line."""

import codecs
import getpass
import importlib
import locale
import os
import re
import signal
import sys
import threading
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional

import click

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What breaks a line, steers a terminal or the direction of text, or cannot be encoded."""

LONGEST_LINE = 4000


class FastnasError(Exception):
    """An error that a user can act on; its text is one line. The command line prints it and exits with 1.

    Messages quote names that others chose: `CONTROL` characters are escaped, and a message without end is cut.
    """

    def __str__(self) -> str:
        line = one_line(super().__str__())
        return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 3] + "..."


class JetsonError(FastnasError):
    """An error of the device half: engine, benchmark, camera or artifact."""


class Unsupported(JetsonError):
    """This device cannot do it, whatever the user does; others may."""


class ConnectionLost(JetsonError):
    """The connection to a board broke, or could not be made; what is asked of the board next would fail as well."""


def one_line(text: str) -> str:
    """Text with line ends as spaces, and with control characters and halves of surrogate pairs escaped."""
    return CONTROL.sub(lambda found: repr(found.group())[1:-1], " ".join(re.split("[\r\n]+", text)))


def first_line(error: BaseException) -> str:
    """The first line of a library's error; its type's name where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


ADD_SWAP = "sudo fallocate -l 4G /swap && sudo chmod 600 /swap && sudo mkswap /swap && sudo swapon /swap"

MORE_MEMORY = "close other programs, take a smaller size, or add swap: " + ADD_SWAP
"""Advice where a board's memory, which its GPU shares, does not suffice."""


class CommandGroup(click.Group):
    """A group that prints every error as one line on stderr; with `--debug`, an option of the group, the traceback.

    The exit code is 2 for wrong usage, 130 after an interrupt and 1 for other errors.

    Attributes:
        install: command that installs a missing package, with a place for its name.
    """

    install = "pip3 install {}"

    def main(self, args: Any = None, standalone_mode: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """Run as a program; without `standalone_mode` errors are raised, as with any group."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **options)
        try:
            with _counted_interrupts():
                _replace_unprintable()
                _name_user()
                result = super().main(args, standalone_mode=False, **options)
        except click.ClickException as error:
            line = " ".join(error.format_message().split())
            if isinstance(error, click.UsageError):
                line += " (see {} --help)".format(error.ctx.command_path if error.ctx else self.name)
            click.echo("Error: " + line, err=True)
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted.", err=True)
            sys.exit(130)
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that a user can act on becomes click's, unless `--debug` is given."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            try:
                raise_if_interrupted(error)
            except KeyboardInterrupt:
                raise click.Abort() from error
            line = self._line(error)
            if line is None or ctx.params.get("debug"):
                raise
            raise click.ClickException(line) from error

    def _line(self, error: Exception) -> Optional[str]:
        """The line about an error, or None for those that only a traceback explains."""
        if isinstance(error, FastnasError):
            return str(error)
        if isinstance(error, OSError):  # a full disk, a broken one, met by a library
            return "{}{}".format("{}: ".format(error.filename) if error.filename else "", error.strerror or error)
        if isinstance(error, ModuleNotFoundError) and (error.name or "fastnas").split(".")[0] != "fastnas":
            return "{} is not installed; run: {} (fastnas doctor says more)".format(
                error.name, self.install.format(error.name)
            )
        return None


_interrupts: List[int] = []  # of this process, while a command runs


def raise_if_interrupted(error: Optional[BaseException] = None) -> None:
    """Raise KeyboardInterrupt where Ctrl-C caused an error.

    A compiled module that Ctrl-C meets while it loads raises ImportError, or loses the interrupt altogether.
    """
    cause = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    if cause is not None or _interrupts:
        raise KeyboardInterrupt from error


def import_package(name: str, advice: str) -> Any:
    """A module of a package that may be missing, or may not load.

    Args:
        name: of the module.
        advice: the error's line, with a place for the reason.

    Raises:
        JetsonError: it cannot be imported.
    """
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise_if_interrupted(error)
        raise JetsonError(advice.format(first_line(error))) from error
    raise_if_interrupted()
    return module


@contextmanager
def _counted_interrupts() -> Iterator[None]:
    """Remember every Ctrl-C within the context, which raises KeyboardInterrupt as always.

    Where Python drops what is raised, as in a weak reference's callback while a module is imported, it is raised again
    a moment later (from Python 3.8 on).
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def handle(number: int, frame: Any) -> None:
        _interrupts.append(number)
        raise KeyboardInterrupt

    def again() -> None:
        if _interrupts:
            os.kill(os.getpid(), signal.SIGINT)

    def dropped(what: Any) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            timer = threading.Timer(0.05, again)
            timer.daemon = True
            timer.start()
        elif hook:
            hook(what)

    hook = getattr(sys, "unraisablehook", None)
    if hook:
        sys.unraisablehook = dropped  # novm: Python 3.8
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if hook:
            sys.unraisablehook = hook  # novm
        del _interrupts[:]


def _replace_unprintable() -> None:
    """Let stdout and stderr print `?` for what their encoding lacks, instead of failing."""
    if sys.version_info < (3, 7) and codecs.lookup(locale.getpreferredencoding()).name == "ascii":
        os.environ["LC_ALL"] = "C.UTF-8"  # as later Pythons do; click refuses to run without
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(getattr(stream, "encoding", None), str):  # closed
            continue
        if codecs.lookup(stream.encoding).name != "ascii" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
        elif hasattr(stream, "buffer"):
            # Not a text stream like the others: click would write UTF-8 into the bytes of one that is ASCII.
            writer = codecs.getwriter(stream.encoding)(stream.buffer, "replace")
            writer.encoding = stream.encoding  # type: ignore[attr-defined]
            writer.replaced = stream  # type: ignore[attr-defined]  # which would close its bytes when it goes
            setattr(sys, name, writer)


def _name_user() -> None:
    """Give a user id without an entry in passwd a name, which libraries ask for to name their folders."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = str(os.getuid())
