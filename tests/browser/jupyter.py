"""A real JupyterLab with a real Chromium: what the browser tests drive."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SETTINGS = {
    # every cell of the page is there, also those out of sight, so that a test can ask for them
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
STDERR = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]'  # error outputs too
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)"
DIGEST = """async image => Array.from(new Uint8Array(await crypto.subtle.digest(
    'SHA-256', await (await fetch(image.src)).arrayBuffer()))).join()"""


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[Callable[[str], str]]:
    """JupyterLab on a free port of this machine, serving a folder with settings of its own; yields name -> URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    home, token = folder / ".jupyter", secrets.token_hex(16)
    for name, settings in SETTINGS.items():
        path = home / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    environment = {
        **os.environ,
        "ENTROPY_PROFILE": "smoke",
        "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={address.rpartition(':')[2]}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        f"--notebook-dir={folder}",
    ]
    with (home / "log").open("w") as log:
        command = [sys.executable, "-m", "jupyter", "lab", *options]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait(lambda: server.poll() is None and answers(f"{address}/api?token={token}"), 60, "JupyterLab to answer")
        yield lambda name: f"{address}/lab/tree/{name}?reset&token={token}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.1)


@contextmanager
def chromium() -> Iterator[Page]:
    """A page in the Chromium of this machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"none of {', '.join(BROWSERS)} is installed; .ci/run shows how"
    off = [f"--disable-{what}" for what in ("quic", "background-networking", "component-update", "sync")]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", *off])
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


def open_notebook(page: Page, url: str) -> None:
    """Open a notebook and wait until its kernel is ready."""
    page.goto(url)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)


def menu(page: Page, *names: str) -> None:
    for name in names:
        page.get_by_role("menuitem", name=name, exact=True).click()


def run_all(page: Page, seconds: float) -> None:
    """Clear all outputs, then run all cells, from the menus as a reader would; an error fails with its text."""
    menu(page, "Edit", "Clear Outputs of All Cells")
    menu(page, "Run", "Run All Cells")
    over = f"() => {{ const all = {PROMPTS}; return !all.includes('[*]:') && all.some(text => /[0-9]/.test(text)) }}"
    page.wait_for_function(over, timeout=1000 * seconds)
    left = [text for text in page.evaluate(PROMPTS) if not any(map(str.isdigit, text))]
    assert not left, f"{len(left)} cells did not run: {page.locator(STDERR).all_inner_texts()}"


def panels(page: Page, with_buttons: bool) -> list[Locator]:
    """The live panels that hold a picture: workbenches (with buttons) or playgrounds (without)."""
    pictures = [
        panel for panel in page.locator(".jp-OutputArea-output > .widget-vbox").all() if panel.locator("img").count()
    ]
    return [panel for panel in pictures if (panel.locator("button").count() > 0) == with_buttons]


def digest(image: Locator) -> str:
    """A fingerprint of the bytes that an <img> shows."""
    return hashlib.sha256(image.evaluate(DIGEST).encode()).hexdigest()


def move(slider: Locator) -> None:
    """To the other end of the scale with the keyboard."""
    at_end = slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemax")
    slider.press("Home" if at_end else "End")


def expect_new_picture(panel: Locator, before: str, seconds: float) -> None:
    """Wait until a panel shows other picture bytes than before."""
    wait(lambda: digest(panel.locator("img")) != before, seconds, "another picture")
