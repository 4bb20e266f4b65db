"""`python -m fastnas`: the command line, also from an uninstalled clone."""

from fastnas.cli import main

if __name__ == "__main__":
    main(prog_name="fastnas")
