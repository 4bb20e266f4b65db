"""Waiting for what another thread or process does."""

import time


def wait_for(condition, seconds=60):
    """What a condition returns once it is true; an AssertionError if it is not by then."""
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain")


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
