"""`python -m fastnas.jetson`: the device half's command line, also where it is only a copied folder."""

from fastnas.jetson.commands import main

if __name__ == "__main__":
    main(prog_name="fastnas")
