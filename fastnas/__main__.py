"""`python -m fastnas`: the command line, also from an uninstalled clone."""

import signal


def run() -> None:
    """Import the command line and run it; Ctrl-C while it is imported ends the process without a traceback."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fastnas.cli import main

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main(prog_name="fastnas")


if __name__ == "__main__":
    run()
