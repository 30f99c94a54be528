"""The expansion as a small animated GIF: the discs in the box, their phase space, and the entropy as it grows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from entropy_utils.lab.errors import ParameterError

from . import pictures
from .expansion import snapshot
from .measures import widths

FRAMES = 36  # at most
SIZE, DPI = (7.2, 2.4), 80


def expansion_gif(records: pd.DataFrame, path_or_buffer: str | Path | BinaryIO | None = None, pause_ms: int = 90) -> bytes:
    """Draw the records of one `Expansion` run with `shown` discs, 36 of them at most; also write them if told where to.

    Every frame lasts `pause_ms`, the last one ten times as long; it repeats for ever. `ParameterError` for records without
    snapshots or of several seeds.
    """
    if "snapshot" not in records or not len(records):
        raise ParameterError.of("records", list(records.columns), "records of a run with shown above 0", "columns of")
    if records.seed.nunique() > 1:
        raise ParameterError.of("records", records.seed.unique().tolist(), "one seed", "seeds of")
    chosen = np.unique(np.linspace(0, len(records) - 1, min(FRAMES, len(records))).round().astype(int))
    film = Film(records)
    frames = [film.frame(number) for number in chosen]
    palette = few_colours(film.seen)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    pauses = [pause_ms] * (len(frames) - 1) + [10 * pause_ms]
    whole = io.BytesIO()
    frames[0].save(whole, "GIF", save_all=True, append_images=frames[1:], duration=pauses, loop=0, optimize=True)
    gif = whole.getvalue()
    if isinstance(path_or_buffer, (str, Path)):
        Path(path_or_buffer).write_bytes(gif)
    elif path_or_buffer is not None:
        path_or_buffer.write(gif)
    return gif


def few_colours(seen: list[float]) -> Image.Image:
    """The palette: greys, and the colours of discs and curves in three shades. The fewer, the smaller the file."""
    colours = {pictures.BLUE, pictures.ORANGE, *(pictures.colour(dv) for dv in seen)}
    shades = [(share * np.array(to_rgb(colour)) + 1 - share) for colour in sorted(colours) for share in (1, 0.65, 0.3)]
    table = np.array([[grey] * 3 for grey in (1.0, 0.93, 0.8, 0.6, 0.4, 0.2, 0.0)] + [list(shade) for shade in shades])
    image = Image.new("P", (1, 1))
    image.putpalette((255 * table).round().astype(np.uint8).tobytes())
    return image


class Film:
    """One figure whose frames show the gas up to a record; axes and labels stay where they are."""

    def __init__(self, records: pd.DataFrame):
        self.records, self.seen = records, widths(records)
        self.figure = Figure(SIZE, dpi=DPI, facecolor="white", layout="constrained")
        self.canvas = FigureCanvasAgg(self.figure)
        self.box, self.phase, self.curves = self.figure.subplots(1, 3)
        left, (x, y, vx) = pictures.started_left(records), snapshot(records.snapshot.iloc[0])
        pictures.box(self.box, x, y, left, "discs in the box")
        dv = self.seen[len(self.seen) // 2]
        pictures.phase_space(self.phase, x, vx, left, dv, title=f"cells of Δv = {dv:g}")
        pictures.gains(self.curves, records)
        self.curves.set_ylabel("gain (nats)")
        self.curves.legend(loc="lower right")
        self.curves.set(xlim=(0, records.time.max()), title="entropy")
        self.sides = (left, ~left)
        self.canvas.draw()
        self.figure.set_layout_engine("none")

    def frame(self, number: int) -> Image.Image:
        """The picture at a record, and the curves up to it."""
        row, so_far = self.records.iloc[number], self.records.iloc[: number + 1]
        x, y, vx = snapshot(row.snapshot)
        for line, side in zip(self.box.lines, self.sides, strict=False):
            line.set_data(x[side], y[side])
        for line, side in zip(self.phase.lines, self.sides, strict=False):
            line.set_data(x[side], vx[side])
        for line, dv in zip(self.curves.lines, self.seen, strict=False):
            line.set_data(so_far.time, so_far[f"gain_{dv:g}"])
        self.curves.set_title(f"entropy, t = {row.time:.2f}")
        self.canvas.draw()
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3].copy())
