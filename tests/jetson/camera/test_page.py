"""The live page in a real browser, on a desktop and on a phone: what it shows, and that its controls work."""

import json
import os
import re
import urllib.request
from typing import Any

import pytest

from tests.helpers.camera_parts import REAL_VIDEO, Process, port_of, wait_running, write_video
from tests.helpers.jetson_toys import TASKS, toy_artifacts

BROWSER = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DEVICES: Any = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not os.path.exists(BROWSER):
        pytest.skip("no Chromium is here; apt-get install chromium brings it")
    with playwright.sync_playwright() as tool:
        found = tool.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    toys = toy_artifacts(tmp_path_factory)
    folder = tmp_path_factory.mktemp("camera")
    video = REAL_VIDEO if os.path.exists(REAL_VIDEO) else write_video(folder / "a.avi", 60)
    with Process(folder, *(toys[kind] for kind in TASKS), "--source", video, "--loop", "--port", 0) as process:
        process.folder = folder
        wait_running(port_of(process))
        yield process


def state(camera):
    address = "http://127.0.0.1:{}/statistics".format(port_of(camera))
    return json.loads(urllib.request.urlopen(address).read().decode())


def until(page, expression):
    """Wait for an expression to hold; Playwright's own waiting needs `eval`, which the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail("never: {}; message: {}".format(expression, page.locator("#message").inner_text()))


def wait_until(page, camera, key, value):
    for _ in range(100):
        if state(camera)[key] == value:
            return
        page.wait_for_timeout(50)
    pytest.fail("{} did not become {!r}: {}".format(key, value, state(camera)))


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_the_page(browser, camera, device, tmp_path):
    context = browser.new_context(**DEVICES[device])
    page, complaints, asked = context.new_page(), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto("http://127.0.0.1:{}/".format(port_of(camera)), wait_until="domcontentloaded")
    until(page, "document.getElementById('frame').naturalWidth > 0 && document.querySelector('#tasks input')")
    until(page, "Number(document.getElementById('shown_fps').textContent) > 0")

    width = DEVICES[device]["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#frame").bounding_box()["width"] > 0.6 * min(width, 1400)
    for name in ("pause", "snapshot", "record"):
        assert page.locator("#" + name).bounding_box()["height"] >= 44  # fingers
    assert page.locator("#state").inner_text() == "running"
    assert page.locator("#temperature").inner_text() != "0"  # absent or real, never zero

    until(page, "document.querySelectorAll('#stages li').length === 6")  # a viewer is there: drawn and encoded too
    rows = page.locator("#stages li").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["capture", "pre", "inference", "post", "draw", "encode"]
    assert all(row.split()[2] == "ms" and row.split()[4] == "%" for row in rows)
    assert page.locator("#limit").inner_text().startswith("share of the time; the limit is ")
    assert page.locator("#stages li[data-limits=true]").count() == 1

    page.locator("#pause").click()
    wait_until(page, camera, "paused", True)
    until(page, "document.getElementById('state-text').textContent === 'paused'")
    page.locator("#pause").click()
    wait_until(page, camera, "paused", False)
    page.locator("#tasks input[value=depth]").check()
    wait_until(page, camera, "task", "depth")
    until(page, "document.getElementById('frame').naturalHeight > document.getElementById('frame').naturalWidth / 2")
    page.locator("#tasks input[value=all]").check()
    page.locator("#alpha").fill("0.2")
    wait_until(page, camera, "alpha", 0.2)
    before = len(os.listdir(str(camera.folder / "captures"))) if (camera.folder / "captures").exists() else 0
    page.locator("#snapshot").click()
    until(page, "document.getElementById('message').textContent.startsWith('snapshot captures/')")
    assert len(os.listdir(str(camera.folder / "captures"))) == before + 1
    page.locator("#record").click()
    wait_until(page, camera, "recording", True)
    until(page, "!document.getElementById('recording').hidden")
    page.locator("#record").click()
    until(page, "document.getElementById('message').textContent.startsWith('recorded captures/')")

    page.screenshot(path=str(tmp_path / (device + ".png")))
    assert os.path.getsize(str(tmp_path / (device + ".png"))) > 20000
    assert complaints == []
    assert all(url.startswith(("http://127.0.0.1:", "data:")) for url in asked)
    context.close()


@pytest.mark.slow
def test_the_page_of_two_cameras(browser, tmp_path, tmp_path_factory):
    toys = toy_artifacts(tmp_path_factory)
    arguments = ["--source", "test://", "--source", "test://", "--mode", "160x96", "--port", 0]
    with Process(tmp_path, toys["segmentation"], *arguments) as two:
        page = browser.new_page()
        page.goto("http://127.0.0.1:{}/".format(port_of(two)), wait_until="domcontentloaded")
        until(page, "document.getElementById('frame').naturalWidth === 320")
        until(page, "document.querySelectorAll('#cameras .card').length === 2")
        until(page, "document.getElementById('state-text').textContent === 'running'")
        until(page, "document.querySelectorAll('#cameras [data-state=running]').length === 2")
        for card in page.locator("#cameras .card").all():
            assert card.locator("h2").inner_text() == "test:// · running"
            assert re.match(r"[\d.]+ of [\d.]+ FPS, \d+ ms, \d+ of \d+ dropped", card.locator("small").inner_text())
        page.screenshot(path=str(tmp_path / "two.png"))
        page.close()


@pytest.mark.slow
def test_the_page_says_that_the_camera_ended(browser, tmp_path, tmp_path_factory):
    toys = toy_artifacts(tmp_path_factory)
    with Process(tmp_path, toys["depth"], "--source", "test://", "--mode", "160x96", "--port", 0) as camera:
        page = browser.new_page()
        page.goto("http://127.0.0.1:{}/".format(port_of(camera)), wait_until="domcontentloaded")
        until(page, "document.getElementById('state-text').textContent === 'running'")
        assert not page.locator("#opacity").is_visible()  # there is no overlay to weaken, and one task to choose from
        assert not page.locator("#tasks").is_visible()
        camera.end()
        until(page, "document.getElementById('state-text').textContent === 'no connection'")
        page.close()
