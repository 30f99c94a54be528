"""The figure style, figures with caption and alt text, and source code shown in a notebook."""

from __future__ import annotations

import base64
import inspect
import io
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entropy_utils.lab.errors import ParameterError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("entropy.mplstyle")
DPI = 110


def use_style() -> None:
    """Make the style of the collection matplotlib's default for this process."""
    import matplotlib.style

    matplotlib.style.use(STYLE)


def show(fig: Figure, caption: str, alt: str) -> None:
    """Display a figure as a PNG with alt text, its caption as Markdown below, and close it.

    `caption` tells what to see; `alt` describes the picture to someone who cannot see it. Both are required.
    """
    check_words(caption, alt)
    picture = io.BytesIO()
    fig.savefig(picture, format="png", dpi=DPI, facecolor="white", bbox_inches="tight")
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    display_with_caption(image_bundle(picture.getvalue(), alt), caption)


def show_animation(gif: bytes, caption: str, alt: str) -> None:
    """Display an animated GIF with alt text, its caption as Markdown below; words as of `show`."""
    check_words(caption, alt)
    if not isinstance(gif, bytes) or not gif.startswith((b"GIF87a", b"GIF89a")):
        raise ParameterError.of("gif", gif[:6] if isinstance(gif, bytes) else gif, "the bytes of a GIF file")
    display_with_caption(image_bundle(gif, alt, "image/gif"), caption)


def check_words(caption: str, alt: str) -> None:
    """`ParameterError` unless both say something."""
    for name, text in (("caption", caption), ("alt", alt)):
        if not isinstance(text, str) or not text.strip():
            raise ParameterError.of(name, text, "a sentence")


def image_bundle(image: bytes, alt: str, kind: str = "image/png") -> tuple[dict, dict]:
    """Mimebundle and metadata of a picture: the alt text is also what a plain-text page shows."""
    return {kind: base64.b64encode(image).decode("ascii"), "text/plain": alt}, {kind: {"alt": alt}}


def display_with_caption(bundle: tuple[dict, dict], caption: str) -> None:
    """Display a mimebundle with its metadata, and below it the caption as Markdown, if there is one."""
    from IPython.display import display

    data, metadata = bundle
    display(data, metadata=metadata, raw=True)
    if caption:
        display({"text/markdown": caption, "text/plain": caption}, raw=True)


def show_source(obj: Any, start: int | None = None, end: int | None = None) -> None:
    """Display the source of a function, class or module as a highlighted code block.

    `start` and `end` choose lines of it, counted from 1, both included.
    """
    from IPython.display import display

    lines = textwrap.dedent(inspect.getsource(obj)).rstrip().splitlines()
    first, last = 1 if start is None else start, len(lines) if end is None else end
    if not 1 <= first <= last <= len(lines):
        raise ParameterError.of("start, end", (start, end), f"line numbers from 1 to {len(lines)}")
    code = textwrap.dedent("\n".join(lines[first - 1 : last]))
    display({"text/markdown": f"```python\n{code}\n```", "text/plain": code}, raw=True)
