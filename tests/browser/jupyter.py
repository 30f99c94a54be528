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
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# every cell of the page is there, also those out of sight, so that a test can ask for them
WHOLE_PAGE = {"@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"}}
QUIET = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False}
}
STDERR = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]'  # error outputs too
DIGEST = """async image => Array.from(new Uint8Array(await crypto.subtle.digest(
    'SHA-256', await (await fetch(image.src)).arrayBuffer()))).join()"""


@contextmanager
def jupyter_lab(folder: Path):
    """JupyterLab on a free port of this machine, serving a folder, with settings of its own; yields a function name -> URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    home, token = folder / ".jupyter", secrets.token_hex(16)
    for name, settings in (WHOLE_PAGE | QUIET).items():
        path = home / "user-settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    environment = {
        **os.environ,
        "ENTROPY_PROFILE": "smoke",
        "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyter",
                "lab",
                *options,
                f"--IdentityProvider.token={token}",
                f"--notebook-dir={folder}",
            ],
            env=environment,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"
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


def wait(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.1)


@contextmanager
def chromium():
    """A page in the Chromium of this machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"none of {', '.join(BROWSERS)} is installed; .ci/run shows how"
    quiet = [
        "--no-sandbox",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=quiet)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


def open_notebook(page: Page, url: str) -> None:
    """Open a notebook and wait until its kernel is ready."""
    page.goto(url)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)


def run_all(page: Page, seconds: float) -> None:
    """Clear all outputs and run all cells from the menus, as a reader would; an error on the way fails with its text."""
    menu(page, "Edit", "Clear Outputs of All Cells")
    menu(page, "Run", "Run All Cells")
    prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)"
    over = f"() => {{ const all = {prompts}; return !all.includes('[*]:') && all.some(text => /\\d/.test(text)) }}"
    page.wait_for_function(over, timeout=1000 * seconds)
    left = [text for text in page.evaluate(prompts) if not any(map(str.isdigit, text))]
    assert not left, f"{len(left)} cells did not run: {page.locator(STDERR).all_inner_texts()}"


def menu(page: Page, *names: str) -> None:
    for name in names:
        page.get_by_role("menuitem", name=name, exact=True).click()


def panels(page: Page, with_buttons: bool) -> list[Locator]:
    """The live panels that hold a picture: workbenches (with buttons) or playgrounds (without), each one whole."""
    whole = page.locator(".jp-OutputArea-output > .widget-vbox")
    pictures = [panel for panel in whole.all() if panel.locator("img").count()]
    return [panel for panel in pictures if (panel.locator("button").count() > 0) == with_buttons]


def digest(image: Locator) -> str:
    """A fingerprint of the bytes that an <img> shows."""
    return hashlib.sha256(image.evaluate(DIGEST).encode()).hexdigest()


def expect_new_picture(panel: Locator, before: str, seconds: float) -> None:
    """Wait until a panel shows other picture bytes than before."""
    wait(lambda: digest(panel.locator("img").first) != before, seconds, "another picture")


__all__ = ["chromium", "digest", "expect", "expect_new_picture", "jupyter_lab", "open_notebook", "panels", "run_all"]
