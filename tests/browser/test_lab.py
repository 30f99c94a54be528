"""Every written notebook in a real JupyterLab: pictures without a kernel, Run All, a slider, Run and Stop."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import expect

from tests.browser.jupyter import (
    chromium,
    digest,
    expect_new_picture,
    jupyter_lab,
    move,
    open_notebook,
    panels,
    run_all,
)
from tests.collection import ROOT, WRITTEN, path

SHOTS = ROOT / "build" / "browser"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Copies of the notebooks in a running JupyterLab, which may save what it runs."""
    folder = tmp_path_factory.mktemp("notebooks")
    for notebook in WRITTEN:
        shutil.copy(path(notebook), folder)
    SHOTS.mkdir(parents=True, exist_ok=True)
    with jupyter_lab(folder) as url:
        yield url


@pytest.fixture(params=WRITTEN, ids=lambda notebook: notebook.id)
def opened(request, served):
    """A notebook and the page on which it is open, its kernel ready and nothing run yet."""
    with chromium() as page:
        open_notebook(page, served(request.param.file))
        yield request.param, page


def test_read_run_and_play(opened):
    notebook, page = opened
    stored = page.locator(".jp-RenderedImage img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert stored
    assert min(stored) > 100
    page.screenshot(path=SHOTS / f"{notebook.id}-opened.png")

    run_all(page, seconds=300)
    page.screenshot(path=SHOTS / f"{notebook.id}-run.png")

    playgrounds = [panel for panel in panels(page, with_buttons=False) if panel.get_by_role("slider").count()]
    assert playgrounds
    for number, playground in enumerate(playgrounds, 1):
        playground.scroll_into_view_if_needed()
        before = digest(playground.locator("img"))
        for slider in playground.get_by_role("slider").all():  # one alone may change nothing at smoke
            move(slider)
        expect_new_picture(playground, before, seconds=10)
        page.screenshot(path=SHOTS / f"{notebook.id}-play-{number}.png")

    workbenches = panels(page, with_buttons=True)
    assert workbenches or not notebook.experiment
    for number, workbench in enumerate(workbenches, 1):
        workbench.scroll_into_view_if_needed()
        steps = workbench.locator(".widget-text", has_text="steps").locator("input")
        if steps.count():  # long enough to be stopped
            steps.fill("400")
            steps.press("Enter")
        before = digest(workbench.locator("img"))
        run, stop = (workbench.locator("button", has_text=name) for name in ("Run", "Stop"))
        run.click()
        expect_new_picture(workbench, before, seconds=60)
        stop.click(force=True)  # other quick experiments may be over before anyone can stop them
        expect(run).to_be_enabled(timeout=30_000)
        stopped, seconds = re.search(r"(stopped: )?\d+ records in ([\d.]+) s", workbench.inner_text()).groups()
        assert stopped or (not steps.count() and float(seconds) < 5)
        still = digest(workbench.locator("img"))
        page.wait_for_timeout(1000)
        assert digest(workbench.locator("img")) == still
        page.screenshot(path=SHOTS / f"{notebook.id}-workbench-{number}.png")
