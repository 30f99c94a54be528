"""Figures come with caption and alt text and are closed; sources are shown without a path."""

import base64
import io
import subprocess
import sys

import IPython.display
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from entropy_utils import lab
from tests.lab import toy


@pytest.fixture
def shown(monkeypatch):
    """What would have been displayed: (data, metadata) per call."""
    calls = []

    def display(data, raw=False, metadata=None):
        assert raw
        calls.append((data, metadata))

    monkeypatch.setattr(IPython.display, "display", display)
    return calls


def test_a_figure_is_shown_with_alt_text_and_caption_and_closed(shown):
    with matplotlib.rc_context():
        lab.use_style()
        fig, ax = plt.subplots()
        ax.plot([0, 1], [0, 1])
        ax.set_xlabel("p")
        lab.show(fig, "**Figure 1.** Entropy over p.", "A rising line.")
    (data, metadata), (caption, _) = shown
    assert data["text/plain"] == metadata["image/png"]["alt"] == "A rising line."
    assert caption["text/markdown"] == "**Figure 1.** Entropy over p."
    frame = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB"))
    assert frame.shape[1] == pytest.approx(770, abs=40)
    assert (frame[0] == 255).all()
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize(("caption", "alt"), [("", "a"), ("c", ""), ("c", None), (" ", "a")])
def test_a_figure_without_words_is_refused(shown, caption, alt):
    with pytest.raises(lab.ParameterError, match=r"field '(caption|alt)': got .*, allowed: a sentence"):
        lab.show(plt.figure(), caption, alt)
    plt.close("all")


def gif(frames: int = 3) -> bytes:
    first, *others = [Image.new("P", (20, 10), n) for n in range(frames)]
    whole = io.BytesIO()
    first.save(whole, "GIF", save_all=True, append_images=others)
    return whole.getvalue()


def test_an_animation_is_shown_with_alt_text_and_caption(shown):
    moving = gif()
    lab.show_animation(moving, "**Animation.** A gas.", "Discs spread.")
    (data, metadata), (caption, _) = shown
    assert set(data) == {"image/gif", "text/plain"}
    assert base64.b64decode(data["image/gif"]) == moving
    assert data["text/plain"] == metadata["image/gif"]["alt"] == "Discs spread."
    assert caption["text/markdown"] == "**Animation.** A gas."


@pytest.mark.parametrize("wrong", [b"", b"\x89PNG", "GIF89a", None])
def test_what_is_no_gif_is_refused(shown, wrong):
    with pytest.raises(lab.ParameterError, match=r"field 'gif': got .*, allowed: the bytes of a GIF file"):
        lab.show_animation(wrong, "c", "a")
    with pytest.raises(lab.ParameterError, match="allowed: a sentence"):
        lab.show_animation(gif(), "", "a")
    assert not shown


def test_source_is_shown_by_lines_without_a_path(shown):
    lab.show_source(toy.Toy.run)
    lab.show_source(toy.Toy.run, 2, 4)
    whole, part = (data for data, _ in shown)
    assert whole["text/markdown"].startswith("```python\ndef run(self):\n    for step in")
    assert part["text/plain"] == (
        'for step in range(self.steps):\n    if step == self.fail_at:\n        raise RuntimeError(f"no <step> {step}")'
    )
    assert ".py" not in whole["text/markdown"]
    for start, end in ((0, 2), (3, 2), (1, 99)):
        with pytest.raises(lab.ParameterError, match=r"got \(\d, \d+\) \(tuple\), allowed: line numbers from 1 to 6"):
            lab.show_source(toy.Toy.run, start, end)


def test_the_lab_loads_only_what_is_used():
    code = "import sys; from entropy_utils import lab; {}; print(*(m for m in {} if m in sys.modules))"
    heavy = ["torch", "transformers", "matplotlib", "ipywidgets", "IPython", "pandas", "datasets"]
    for use, absent in (("dir(lab)", [*heavy, "pydantic", "numpy"]), ("lab.Experiment, lab.collect", heavy)):
        command = [sys.executable, "-c", code.format(use, absent)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"
    with pytest.raises(AttributeError, match="has no attribute 'Experimnt'"):
        _ = lab.Experimnt
