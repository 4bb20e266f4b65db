"""Where things are, for tests in folders of any depth; also for the Python of a board."""

import os

HELPERS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HELPERS))
FAKES = os.path.join(HELPERS, "fakes")
FIXTURES = os.path.join(HELPERS, "fixtures")
