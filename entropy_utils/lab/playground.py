"""`Playground`: sliders on a picture that answers at once in JupyterLab and is there as a static picture elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import html
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from traitlets import TraitError

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.figures import display_with_caption, image_bundle
from entropy_utils.lab.picture import Picture

SETTLE_S = 0.002  # a redraw starts when no event came for this long ...
PATIENCE_S = 0.1  # ... or, while events keep coming, this long after the first


class Playground:
    """A picture and the controls that change it.

    ``Playground(draw, alpha=(0, 2, 0.1), kind=["sharp", "flat"], log=False)``: `draw(fig, alpha, kind, log)` draws on
    a cleared matplotlib figure. A control is ``(min, max, step)`` or ``(min, max, step, value)``, a list of choices, a
    bool, or any ipywidget with a value. Events that arrive faster than the picture can follow are merged: the latest
    values win. An exception in `draw` is shown below the picture, which then keeps its last state.
    """

    def __init__(
        self,
        draw: Callable[..., None],
        figsize: tuple[float, float] = (7, 4),
        caption: str = "",
        alt: str = "",
        **controls: Any,
    ):
        self._draw, self.caption, self.alt = draw, caption, alt
        self.controls = {name: control(name, spec) for name, spec in controls.items()}
        self._picture, self._stale, self._scheduled, self._quiet = Picture(figsize), True, False, False
        self._event = self._first_event = 0.0
        self.image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", object_fit="contain"))
        self.message = widgets.HTML()
        self.panel = panel(self.controls.values(), self.image, self.message)
        self.redraw()
        for widget in self.controls.values():
            widget.observe(self._changed, "value")

    @property
    def values(self) -> dict[str, Any]:
        """What the controls stand at."""
        return {name: widget.value for name, widget in self.controls.items()}

    @property
    def png(self) -> bytes:
        """The picture at the present values."""
        if self._stale:
            self.redraw()
        return bytes(self.image.value)

    def set(self, **values: Any) -> None:
        """Move controls and redraw at once; `ParameterError` for a control or value that does not exist."""
        for name, value in values.items():
            if name not in self.controls:
                raise ParameterError.of(name, value, ", ".join(self.controls), "unknown control")
        before, self._quiet = self.values, True
        try:
            for name, value in values.items():
                put(name, self.controls[name], value)
        except ParameterError:
            for name, value in before.items():
                self.controls[name].value = value
            raise
        finally:
            self._quiet = False
        self.redraw()

    def redraw(self) -> None:
        """Draw the picture at the present values; what `draw` raises is shown in the panel and raised again."""
        self._stale = False
        try:
            self.image.value = self._picture.png(lambda figure: self._draw(figure, **self.values))
            self.message.value = ""
        except Exception as error:
            self.message.value = problem(error)
            raise

    def _changed(self, change: dict) -> None:
        if self._quiet:
            return
        self._stale, self._event = True, time.perf_counter()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a plain script: nobody would run a later redraw
            self._redraw_quietly()
            return
        if not self._scheduled:
            self._scheduled, self._first_event = True, self._event
            loop.call_later(SETTLE_S, self._settle, loop)

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.perf_counter()
        if now - self._event < SETTLE_S and now - self._first_event < PATIENCE_S:
            loop.call_later(SETTLE_S, self._settle, loop)
            return
        self._scheduled = False
        if self._stale:
            self._redraw_quietly()

    def _redraw_quietly(self) -> None:
        with contextlib.suppress(Exception):  # redraw has shown it in the panel
            self.redraw()

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        return live_bundle(self.panel, self.png, self.alt)

    def _ipython_display_(self) -> None:
        display_with_caption(self._repr_mimebundle_(), self.caption)


def control(name: str, spec: Any) -> widgets.Widget:
    """The widget for a control given in short form."""
    look = {"description": name.replace("_", " "), "style": {"description_width": "initial"}}
    if isinstance(spec, widgets.Widget) and hasattr(spec, "value"):
        return spec
    if isinstance(spec, bool):
        return widgets.Checkbox(value=spec, indent=False, **look)
    if isinstance(spec, list) and spec:
        return widgets.Dropdown(options=spec, **look)
    numbers = isinstance(spec, tuple) and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in spec)
    if numbers and len(spec) in (3, 4) and spec[0] < spec[1] and 0 < spec[2] <= spec[1] - spec[0]:
        low, high, step = spec[:3]
        value = spec[3] if len(spec) == 4 else low + round((high - low) / 2 / step) * step
        if low <= value <= high:
            slider = widgets.IntSlider if all(isinstance(n, int) for n in spec) else widgets.FloatSlider
            more = {} if slider is widgets.IntSlider else {"readout_format": ".3g"}
            return slider(min=low, max=high, step=step, value=value, **more, **look)
    allowed = "(min, max, step) or (min, max, step, value) with min < max, a list of choices, a bool, or a widget"
    raise ParameterError.of(name, spec, allowed, "control")


def put(name: str, widget: widgets.Widget, value: Any) -> None:
    """Give a control a value; ParameterError where the widget would refuse or silently clamp it."""
    try:
        widget.value = value
        accepted = widget.value == value
    except (TraitError, TypeError, ValueError):
        accepted = False
    if not accepted:
        choices = " or ".join(repr(option) for option in getattr(widget, "options", ()))
        span = f"{widget.min:g} to {widget.max:g}" if hasattr(widget, "min") else f"a value of {type(widget).__name__}"
        raise ParameterError.of(name, value, choices or span, "control")


def panel(controls: Any, *below: widgets.Widget) -> widgets.VBox:
    """Controls side by side, wrapping where the page is narrow, and what stands below them."""
    return widgets.VBox([widgets.HBox(list(controls), layout=widgets.Layout(flex_flow="row wrap")), *below])


def problem(error: BaseException) -> str:
    """An error as one line of HTML."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return f'<span style="color:#b00020">{html.escape(line)}</span>'


def live_bundle(view: widgets.Widget, png: bytes, alt: str) -> tuple[dict, dict]:
    """The widget for a live page; the picture and its alt text for every other."""
    data, metadata = image_bundle(png, alt)
    return (view._repr_mimebundle_() or {}) | data, metadata
