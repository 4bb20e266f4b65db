"""Health check of every image: exit 0 while `fastnas camera` shows frames, or its user paused them.

$FASTNAS_PAGE is the page's address. docker/run.sh switches the check off for commands that have no page, so that
nothing wakes up in the middle of a measurement.
"""

import os
import sys
import urllib.request

HEALTH = os.environ.get("FASTNAS_PAGE", "http://127.0.0.1:8080/").rstrip("/") + "/health"  # it asks for no token

try:
    urllib.request.urlopen(HEALTH, timeout=3).close()
except OSError as error:
    sys.exit(f"{HEALTH}: {error}")
