"""`Workbench`: an experiment with controls made from its own fields, Run / Stop / Reset, and live curves."""

from __future__ import annotations

import ast
import contextlib
import html
import json
import math
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as widgets
import pandas as pd
from matplotlib.figure import Figure

from entropy_utils.lab.catalogue import collection
from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Experiment, History, Record, flat
from entropy_utils.lab.figures import display_with_caption
from entropy_utils.lab.picture import Picture
from entropy_utils.lab.playground import live_bundle, panel, problem

REDRAW_S = 0.2  # live curves are drawn this often at most, and never take more than a fifth of the time
KEPT_RUNS = 6


@dataclass(eq=False)
class _Run:
    """One run of a workbench; `records` grows while it runs."""

    label: str
    experiment: Experiment
    records: list[Record] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    history: History | None = None

    def frame(self) -> pd.DataFrame:
        return self.history.records if self.history else pd.DataFrame(list(self.records))


class Workbench:
    """Runs an experiment in a thread while the page stays usable.

    `experiment` is an `Experiment` class (then taken at `profile`) or an instance; `fields` chooses which of its fields
    get a control, all by default; a mapping also gives the choices of a menu, ``{"task": None, "method": ["a"]}``.
    `plot(fig, runs)` draws on a cleared figure; `runs` is a list of (label, DataFrame of
    records), oldest first. `histories` are shown as earlier runs from the start, so that a page without a kernel has
    curves too. Stop acts after the record being made; an error inside a run is shown and the bench stays usable.
    """

    def __init__(
        self,
        experiment: type[Experiment] | Experiment,
        plot: Callable[[Figure, list[tuple[str, pd.DataFrame]]], None],
        notebook: str = "05",
        fields: Sequence[str] | Mapping[str, list | None] | None = None,
        profile: str = "laptop",
        histories: Sequence[History] = (),
        figsize: tuple[float, float] = (7, 4),
        caption: str = "",
        alt: str = "",
    ):
        self._base = experiment.profile(profile) if isinstance(experiment, type) else experiment
        self._plot, self.profile, self.caption, self.alt = plot, profile, caption, alt
        self._file = collection().notebook(notebook).file
        self._schemas = type(self._base).model_json_schema()["properties"]
        for name in fields or ():
            if name not in self._schemas:
                raise ParameterError.of("fields", name, ", ".join(self._schemas))
        values = self._base.model_dump(mode="json")
        for name, choices in fields.items() if isinstance(fields, Mapping) else ():
            self._schemas[name] |= {"enum": choices} if choices else {}
        chosen = fields or self._schemas
        self.controls = {name: field_control(name, self._schemas[name], values[name]) for name in chosen}
        self._first = {name: widget.value for name, widget in self.controls.items()}

        self._started, self._thread, self._drawing = 0, None, threading.RLock()
        self._given = [_Run(self._label(h.experiment), h.experiment, history=h) for h in histories]
        self._runs, self.error = list(self._given), None
        self._picture = Picture(figsize)
        self.image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", object_fit="contain"))
        self.message, self._command_line = widgets.HTML(), widgets.HTML()
        self.run_button = widgets.Button(description="Run", icon="play", button_style="primary")
        self.stop_button = widgets.Button(description="Stop", icon="stop", disabled=True)
        self.reset_button = widgets.Button(description="Reset", icon="refresh")
        buttons = widgets.HBox([self.run_button, self.stop_button, self.reset_button, self.message])
        self.panel = panel(self.controls.values(), buttons, self.image, self._command_line)
        self.run_button.on_click(lambda _: self._run_or_show())
        self.stop_button.on_click(lambda _: self.stop())
        self.reset_button.on_click(lambda _: self.reset())
        for widget in self.controls.values():
            widget.observe(self._settings_changed, "value")
        self._settings_changed()
        self._redraw()

    @property
    def experiment(self) -> Experiment:
        """The experiment at the present settings; `ParameterError` if they make none."""
        changed = {name: self._read(name) for name, w in self.controls.items() if w.value != self._first[name]}
        return self._base.replace(**changed)

    @property
    def running(self) -> bool:
        """Whether a run is on its way."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def histories(self) -> list[History]:
        """What the finished runs shown left, oldest first."""
        return [run.history for run in self._runs if run.history]

    @property
    def command(self) -> str:
        """The shell command that runs the notebook headless at the present settings."""
        return papermill_command(f"notebooks/{self._file}", self.profile, self.experiment)

    @property
    def png(self) -> bytes:
        """The picture as last drawn."""
        return bytes(self.image.value)

    def run(self) -> None:
        """Start a run at the present settings; `ParameterError` if they are wrong. One run at a time."""
        if self.running:
            self.message.value = "still running"
            return
        experiment = self.experiment
        self._started += 1
        run = _Run(f"{self._started}: {self._label(experiment)}", experiment)
        self._runs, self.error = [*self._runs, run][-KEPT_RUNS:], None
        self.run_button.disabled, self.stop_button.disabled = True, False
        self._thread = threading.Thread(target=self._work, args=(run,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask the run to end after the record it is making."""
        for run in self._runs:
            run.stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the run to end, at most `timeout` seconds; whether it has."""
        if self._thread:
            self._thread.join(timeout)
        return not self.running

    def reset(self) -> None:
        """Stop, forget the runs started here, and put every control back."""
        self.stop()
        self.wait(2)
        self._runs, self._started, self.error = list(self._given), 0, None
        for name, value in self._first.items():
            self.controls[name].value = value
        self._settings_changed()
        self._redraw()

    def _work(self, run: _Run) -> None:
        start = drawn = time.perf_counter()
        cost, completed, total = 0.0, False, run.experiment.length()
        records = run.experiment.run()
        try:
            for record in records:
                run.records.append(flat(record))
                now = time.perf_counter()
                if run.stop.is_set():
                    break
                if now - drawn > max(REDRAW_S, 5 * cost):
                    self._tell(run, f"record {len(run.records)}{f' of {total}' if total else ''}, {now - start:.0f} s")
                    self._redraw()
                    drawn = time.perf_counter()
                    cost = drawn - now
            else:
                completed = True
            end = "" if completed else "stopped: "
            self._tell(run, f"{end}{len(run.records)} records in {time.perf_counter() - start:.1f} s")
        except Exception as error:
            self.error = error
            self._tell(run, problem(error))
        finally:
            records.close()
            run.history = History.of(run.experiment, run.records, time.perf_counter() - start, completed)
            self._redraw()
            self.run_button.disabled, self.stop_button.disabled = False, True

    def _tell(self, run: _Run, text: str) -> None:
        if run in self._runs:  # not after a reset
            self.message.value = text

    def _redraw(self) -> None:
        with self._drawing:
            runs = [(run.label, run.frame()) for run in self._runs]
            runs = [(label, frame) for label, frame in runs if len(frame)]
            try:
                self.image.value = self._picture.png(lambda fig: self._plot(fig, runs) if runs else _invite(fig))
            except Exception as error:
                self.error = error
                self.message.value = problem(error)

    def _run_or_show(self) -> None:
        try:
            self.run()
        except ParameterError as error:
            self.message.value = problem(error)

    def _settings_changed(self, change: dict | None = None) -> None:
        try:
            self._command_line.value = f"<code>{html.escape(self.command)}</code>"
            self.message.value = ""
        except ParameterError as error:
            self.message.value = problem(error)

    def _read(self, name: str) -> Any:
        """The value of a control as the field wants it."""
        schema, widget = self._schemas[name], self.controls[name]
        if isinstance(widget, widgets.FloatLogSlider):  # three digits are what the slider shows
            value = float(f"{widget.value:.3g}")
            value = round(value) if schema["type"] == "integer" else value
            return min(max(value, schema.get("minimum", value)), schema.get("maximum", value))
        if isinstance(widget, widgets.Text) and schema.get("type") != "string":
            with contextlib.suppress(ValueError, SyntaxError):
                return ast.literal_eval(widget.value)
        return widget.value

    def _label(self, experiment: Experiment) -> str:
        """What makes a run different from the settings the bench started with."""
        changes = _differences(experiment, self._base)
        return ", ".join(f"{name} {_short(value)}" for name, value in changes.items()) or "as set"

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        return live_bundle(self.panel, self.png, self.alt)

    def _ipython_display_(self) -> None:
        display_with_caption(self._repr_mimebundle_(), self.caption)


def field_control(name: str, schema: dict, value: Any) -> widgets.Widget:
    """The control for a field: slider if bounded (on a log scale if the field says so), menu, checkbox, else a text."""
    unit = f" [{schema['unit']}]" if schema.get("unit") else ""
    look = {
        "description": name.replace("_", " "),
        "tooltip": schema.get("description", name) + unit,
        "style": {"description_width": "initial"},
    }
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    kind, bounded = schema.get("type"), low is not None and high is not None
    if "enum" in schema:
        choice = value["name"] if isinstance(value, dict) else value
        options = schema["enum"] if choice in schema["enum"] else [choice, *schema["enum"]]
        return widgets.Dropdown(options=options, value=choice, **look)
    if kind == "boolean":
        return widgets.Checkbox(value=value, indent=False, **look)
    if kind in ("integer", "number") and bounded and schema.get("scale") == "log":
        low = low or min(value, high / 1000) / 1000  # an open lower bound of 0 has no place on a log scale
        high *= 1 if "maximum" in schema else 0.999
        ends = {"min": math.log10(low), "max": math.log10(high), "step": 0.05}
        return widgets.FloatLogSlider(value=value, **ends, readout_format=".3g", **look)
    if kind == "integer" and bounded:
        slider = widgets.IntSlider if high - low <= 10_000 else widgets.BoundedIntText
        return slider(value=value, min=low, max=high, **look)
    if kind == "number" and bounded:
        step = (high - low) / 200
        low, high = low + step * ("minimum" not in schema), high - step * ("maximum" not in schema)
        low, high = min(low, value), max(high, value)
        return widgets.FloatSlider(value=value, min=low, max=high, step=step, readout_format=".3g", **look)
    return widgets.Text(value=value if isinstance(value, str) else repr(value), continuous_update=False, **look)


def papermill_command(notebook: str, profile: str, experiment: Experiment) -> str:
    """The papermill command for an experiment: profile and seed, and as overrides all that differs from the profile."""
    changes = _differences(experiment, type(experiment).profile(profile))
    words = ["papermill", notebook, "out.ipynb", "-p", "profile", profile, "-p", "seed", str(experiment.seed)]
    changes.pop("seed", None)
    if changes:
        words += ["-y", f"overrides: {_yaml(changes)}"]
    return shlex.join(words)


def _differences(experiment: Experiment, base: Experiment) -> dict[str, Any]:
    ours, theirs = experiment.model_dump(mode="json"), base.model_dump(mode="json")
    return {name: value for name, value in ours.items() if value != theirs.get(name)}


def _yaml(value: Any) -> str:
    """A JSON value in YAML's flow form. YAML 1.1 reads ``1e-05`` as text, so a float gets its point: ``1.0e-05``."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    text = json.dumps(value)
    if isinstance(value, float) and "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return text


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(_short(item) if name == "name" else f"{name} {_short(item)}" for name, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _invite(fig: Figure) -> None:
    fig.text(0.5, 0.5, "Run draws here", ha="center", va="center", color="0.5")
