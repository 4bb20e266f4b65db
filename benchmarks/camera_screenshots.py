"""Renew the screenshots of the live page in docs/images, of a desktop and a phone, and one frame alone.

    python benchmarks/camera_screenshots.py artifacts/camvid-arch2 --source bikes.mp4 --frames 250 --at 118

The source is played again and again; the screenshots are taken when its frame `--at` is on. Needs Chromium.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 640}},
    "phone": {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2, "is_mobile": True},
}


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        content: bytes = answer.read()
        return content


def find_address(camera: subprocess.Popen[str]) -> str:
    """Where the page is, from what the camera prints."""
    assert camera.stderr is not None
    for line in camera.stderr:
        if line.startswith("watch: "):
            return line.split()[1]
        print(line, end="", file=sys.stderr)
    sys.exit("the camera did not start")


def wait_for_frame(address: str, frames: int, at: int) -> None:
    """Wait until a frame of the looped video is the newest; the first round is only for warming up."""
    while True:
        captured = json.loads(fetch(address + "statistics"))["captured"]
        if captured > frames and 0 <= captured % frames - at <= 2:
            return
        time.sleep(0.01)


def photograph(browser: Browser, address: str, device: str, frames: int, at: int) -> None:
    page = browser.new_page(**DEVICES[device])
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_timeout(6000)
    wait_for_frame(address, frames, at)
    page.screenshot(path=IMAGES / f"camera-{device}.jpg", type="jpeg", quality=85)
    page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--source", required=True)
    parser.add_argument("--frames", type=int, required=True, help="how many the source has")
    parser.add_argument("--at", type=int, default=0, help="the frame to show")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="further options of fastnas camera")
    options = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fastnas", "camera", *options.artifacts, "--source", options.source]
    camera = subprocess.Popen([*command, "--loop", "--port", "0", *options.options], stderr=subprocess.PIPE, text=True)
    try:
        address = find_address(camera)
        with sync_playwright() as tool:
            browser = tool.chromium.launch(executable_path=options.browser, args=FLAGS)
            for device in DEVICES:
                photograph(browser, address, device, options.frames, options.at)
            browser.close()
        wait_for_frame(address, options.frames, options.at)
        (IMAGES / "camera-frame.jpg").write_bytes(fetch(address + "frame.jpg"))
    finally:
        camera.terminate()
        camera.wait()


if __name__ == "__main__":
    main()
