"""`Picture`: one matplotlib figure drawn and packed again and again, fast enough to follow a slider."""

from __future__ import annotations

import math
import struct
import threading
import zlib
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from entropy_utils.lab.figures import DPI


class Picture:
    """A persistent figure that turns a drawing function into PNG bytes.

    What a fresh figure per frame spends its time on is saved: margins are fitted once and kept (so the axes stay put
    while a slider moves) until ink touches the edge, that is until a label would be cut off; cleared axes and their
    ticks are used again; a text drawn before is stamped; the PNG is packed lightly. The pixels are those of a fresh
    figure, but for texts being moved to whole pixels. Frames may be asked for from any thread: one is drawn at a time.
    """

    _drawing = threading.RLock()  # matplotlib's font and text caches are shared by all figures

    def __init__(self, figsize: tuple[float, float] = (7, 4)):
        self.figure = _Figure(figsize, dpi=DPI, facecolor="white", layout="none")
        self._canvas = _Canvas(self.figure)
        self._margins: dict[str, float] = {}
        self._lift_titles = False

    def png(self, draw: Callable[[Figure], None]) -> bytes:
        """Clear the figure, let `draw(figure)` draw on it, and return the picture."""
        with self._drawing:
            figure = self.figure
            figure.start_over()
            figure.subplots_adjust(**self._margins)
            draw(figure)
            figure.put_ticks_back()
            pixels = self._pixels()
            crowded = not self._lift_titles and any(ax.yaxis.offsetText.get_text() for ax in figure.axes)
            if figure.axes and (crowded or not self._margins or _ink_on_edge(pixels)):
                self._lift_titles |= crowded
                figure.tight_layout()
                sides = figure.subplotpars
                names = ("left", "right", "bottom", "top", "wspace", "hspace")
                self._margins = {name: getattr(sides, name) for name in names}
                pixels = self._pixels()
            return _png(pixels)

    def _pixels(self) -> np.ndarray:
        for ax in self.figure.axes:
            # Lifting a title over top ticks or an exponent costs one more layout of all tick labels: only if needed.
            top = ax.xaxis.get_ticks_position() != "bottom" or ax.xaxis.get_label_position() != "bottom"
            ax._autotitlepos = ax._autotitlepos and (self._lift_titles or top)
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())


class _Figure(Figure):
    """Gives out the plain axes of the last frame again: they are cleared but keep their tick objects."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._plain: list[_Reusable] = []  # of this frame
        self._spare: list[_Reusable] = []  # of the last one, not yet given out again

    def start_over(self):
        """Clear the figure, and set the axes that may serve again aside."""
        for ax in self.axes:
            self.delaxes(ax)  # clear() would first rebuild every one of them
        self.clear()
        self._spare, self._plain = self._plain, []

    def add_subplot(self, *args, **kwargs):
        if len(args) != 1 or not isinstance(args[0], SubplotSpec) or any(v is not None for v in kwargs.values()):
            return super().add_subplot(*args, **kwargs)
        while self._spare:
            spare = self._spare.pop(0)
            if spare.reset():
                self._plain.append(spare)
                spare.ax.set_subplotspec(args[0])
                return self.add_axes(spare.ax)
        ax = super().add_subplot(*args, **kwargs)
        self._plain.append(_Reusable(ax))
        return ax

    def put_ticks_back(self):
        """Let axes that serve again draw with the ticks they had."""
        for used in self._plain:
            used.put_ticks_back()


class _Reusable:
    """Axes that serve for many frames, as long as clearing them brings back their first state."""

    def __init__(self, ax: Axes):
        self.ax, self._first, self._ticks = ax, self._state(ax), {}

    def reset(self) -> bool:
        """Clear the axes; False if they differ from new ones, by something that a clear does not reset."""
        self.ax.clear()
        for axis in (self.ax.xaxis, self.ax.yaxis):
            axis.isDefault_label = True
        return self._state(self.ax) == self._first

    def put_ticks_back(self) -> None:
        """Take the tick objects of the last frame, unless the drawing changed how ticks look or made its own."""
        for spine in self.ax.spines.values():
            spine.get_spine_transform()  # sets its place, if nobody did, and drops all ticks in passing
        if any(spine.get_position() != ("outward", 0.0) for spine in self.ax.spines.values()):
            self._ticks.clear()  # ticks follow their spine
            return
        for axis in (self.ax.xaxis, self.ax.yaxis):
            params, (last_params, last_ticks) = axis.get_tick_params(), self._ticks.pop(axis, (None, None))
            if len(axis.majorTicks) < 2:
                if params == last_params:
                    axis.majorTicks = last_ticks
                self._ticks[axis] = (params, axis.majorTicks)

    @staticmethod
    def _state(ax: Axes) -> dict:
        """The plain attributes of axes and of their parts, but for those set by drawing or by `add_subplot`."""
        kinds = (bool, int, float, str, tuple, type(None))
        skip = {"_stale", "_position", "_projection_init"}
        both = [(axis.get_tick_params("major"), axis.get_tick_params("minor")) for axis in (ax.xaxis, ax.yaxis)]
        state = {"ticks": both, (1, "_tick_position"): "bottom"}
        for number, part in enumerate((ax, ax.xaxis, ax.yaxis, ax.patch, *ax.spines.values())):
            plain = {name: value for name, value in vars(part).items() if isinstance(value, kinds) and name not in skip}
            state |= {(number, name): value for name, value in plain.items()}
        return state


class _Canvas(FigureCanvasAgg):
    def get_renderer(self):
        width, height = self.get_width_height(physical=True)
        if (width, height) != getattr(self, "_size", None):
            self.renderer, self._size = _StampingRenderer(width, height, self.figure.dpi), (width, height)
        return self.renderer


class _StampingRenderer(RendererAgg):
    """Draws a text once and stamps its pixels afterwards: tick labels are most of the time of a small figure."""

    def __init__(self, *size):
        super().__init__(*size)
        self._stamps = {}

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        look = (gc.get_rgb(), gc.get_alpha(), gc.get_antialiased())
        key = (s, hash(prop), angle, ismath, *look)
        if key not in self._stamps:
            if len(self._stamps) > 1000:
                self._stamps.clear()
            self._stamps[key] = self._stamp(gc, s, prop, angle, ismath, mtext)
        pixels, left, bottom = self._stamps[key]
        self.draw_image(gc, round(x) + left, self.height - round(y) - bottom, pixels)

    def _stamp(self, gc, s, prop, angle, ismath, mtext):
        """The pixels of a text, bottom row first, and where their lower left corner lies from the text's origin."""
        reach = math.ceil(math.hypot(*self.get_text_width_height_descent(s, prop, ismath)[:2])) + 4
        small = RendererAgg(2 * reach, 2 * reach, self.dpi)
        free = small.new_gc()
        free.copy_properties(gc)
        free.set_clip_rectangle(None)
        free.set_clip_path(None)
        small.draw_text(free, reach, reach, s, prop, angle, ismath, mtext)
        pixels = np.asarray(small.buffer_rgba())
        rows, columns = (np.append(pixels[..., 3].any(axis=axis).nonzero()[0], reach) for axis in (1, 0))
        cut = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        return cut[::-1].copy(), columns.min() - reach, rows.max() + 1 - reach


def _png(pixels: np.ndarray) -> bytes:
    """RGBA pixels (height, width, 4) as a PNG: each row as its difference to the row above, packed at zlib's level 1.

    A general encoder takes three times as long, since it tries every filter on every row.
    """
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, 4 * width)
    filtered = np.full((height, 1 + 4 * width), 2, np.uint8)  # 2 is the PNG filter "up", one byte before each row
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">2I5B", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA, no interlace
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _ink_on_edge(pixels: np.ndarray) -> bool:
    return any((edge[..., :3] < 255).any() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
