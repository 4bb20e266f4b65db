"""Health check of every image: exit 0 if the live page of `fastnas camera` answers, whatever it answers.

$FASTNAS_PAGE is the page's address. docker/run.sh switches the check off for commands that have no page, so that
nothing wakes up in the middle of a measurement.
"""

import os
import sys
import urllib.error
import urllib.request

PAGE = os.environ.get("FASTNAS_PAGE", "http://127.0.0.1:8080/")

try:
    urllib.request.urlopen(PAGE, timeout=3).close()
except urllib.error.HTTPError:
    pass  # it asks for a token: it is alive
except OSError as error:
    sys.exit(f"{PAGE}: {error}")
