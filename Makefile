# make demo    set up, then the whole way from search to a running network, on built-in scenes
# make test    set up, then the tests that need neither a GPU nor much time
# Each sets up .venv once; it is renewed when pyproject.toml or constraints.txt change.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
EXTRAS := cpu,dev,docs,predictor,ray,smp

.PHONY: demo test test-all lint docs constraints clean

demo: $(READY)
	@$(BIN)/fastnas demo

test: $(READY)
	@$(BIN)/python -m pytest -n auto -m "not slow and not gpu"

test-all: $(READY)
	@$(BIN)/python -m pytest -n auto --cov

lint: $(READY)
	@$(BIN)/python -m pytest tests/repo/test_habits.py

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Renew every pin. The resolution serves all supported Pythons at once.
constraints:
	uv pip compile --quiet --universal --python-version 3.10 --all-extras --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links --upgrade pyproject.toml --output-file constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .*_cache

# Old Pythons must get as far as the message, so the check is written in what all of them understand.
define CHECK_PYTHON
import sys
found = "%d.%d" % sys.version_info[:2]
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit("fastnas needs Python 3.10 to 3.13, and $(PYTHON) is %s; run: make PYTHON=python3.12" % found)
try:
    import ensurepip, venv
except ImportError:
    sys.exit("$(PYTHON) cannot make virtual environments; run: sudo apt-get install python%s-venv" % found)
endef
export CHECK_PYTHON

$(READY): pyproject.toml setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here; fastnas needs Python 3.10 to 3.13" >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@test -x $(BIN)/python || { echo "Setting up $(VENV): a few minutes, about 6 GB"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@$(BIN)/python -c "import cv2" || echo "OpenCV does not load; run: sudo apt-get install libgl1 libglib2.0-0" >&2
	@touch $@
