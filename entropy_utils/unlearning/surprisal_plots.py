"""Pictures of one answer token by token, and of one position's distribution with the target that forgets it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

SCALE, COLOURS = LogNorm(1e-4, 10, clip=True), colormaps["Oranges"]
"""Of surprisals: logarithmic, for in memorised text the facts show in small residuals."""
BEFORE, AFTER, MEMORISED = "0.6", "#0072B2", "#D55E00"
WIDE = 0.602  # of a character of the monospaced font, in units of its size
SHOWN = 12  # tokens of one position's picture


def coloured_tokens(
    ax: Axes,
    words: Sequence[str],
    surprisal: np.ndarray,
    selected: np.ndarray | None = None,
    facts: np.ndarray | None = None,
    columns: int = 88,
) -> None:
    """One answer as boxes in reading order: colour and small number are the surprisal (nats), facts bold.

    words (T,), surprisal (T,) in nats, selected and facts boolean (T,): selected tokens get a thick black frame. Lines
    break after `columns` characters; the axes show nothing else.
    """
    words = [_printable(word) for word in words]
    size = min(10.5, 72 * ax.figure.get_figwidth() * ax.get_position().width / columns / WIDE)
    x, line, boxes = 0.0, 0, []
    for word in words:
        width = max(len(word), 4) + 1.2
        if x and x + width > columns:
            x, line = 0.0, line + 1
        boxes.append((x, line, width))
        x += width + 0.5
    colours = COLOURS(SCALE(np.maximum(surprisal, 1e-12)))
    chosen = np.zeros(len(words), bool) if selected is None else selected
    bold = np.zeros(len(words), bool) if facts is None else facts
    plain = [Rectangle((x, line), width, 0.8) for x, line, width in boxes]
    ax.add_collection(PatchCollection(plain, facecolors=colours, edgecolors="0.75", linewidths=0.6))
    framed = [box for box, is_chosen in zip(plain, chosen, strict=True) if is_chosen]
    ax.add_collection(PatchCollection(framed, facecolors="none", edgecolors="black", linewidths=2.4))
    for word, (x, line, width), s, colour, fact in zip(words, boxes, surprisal, colours, bold, strict=True):
        ink = {"color": "white" if colour[:3] @ (0.3, 0.59, 0.11) < 0.5 else "black", "ha": "center", "va": "center"}
        weight = "bold" if fact else "normal"
        ax.text(x + width / 2, line + 0.28, word, family="monospace", fontsize=size, weight=weight, **ink)
        ax.text(x + width / 2, line + 0.62, short(s), fontsize=0.68 * size, **ink)
    ax.set(xlim=(-0.3, columns + 1.5), ylim=(max(line + 0.85, 1.2), -0.1))
    ax.axis("off")


def surprisal_scale(fig: Figure, ax: Axes) -> None:
    """The colours' scale as a thin bar below the axes."""
    bar = fig.colorbar(ScalarMappable(SCALE, COLOURS), ax=ax, orientation="horizontal", aspect=50, fraction=0.08, pad=0.02)
    bar.set_label("surprisal (nats), logarithmic; black frame: selected; bold: the fact", fontsize=9)
    bar.outline.set_visible(False)


def before_and_after(
    fig: Figure,
    words: Sequence[str],
    surprisal: Mapping[str, np.ndarray],
    selected: np.ndarray | None = None,
    facts: np.ndarray | None = None,
) -> None:
    """One answer as several models read it, one row per name in `surprisal`, one scale for all."""
    axes = fig.subplots(len(surprisal), 1, squeeze=False)[:, 0]
    for ax, (name, values) in zip(axes, surprisal.items(), strict=True):
        coloured_tokens(ax, words, values, selected, facts)
        ax.set_title(name)
    surprisal_scale(fig, axes[-1])


def in_words(words: Sequence[str], surprisal: np.ndarray, selected: np.ndarray | None = None) -> str:
    """Alt text of `coloured_tokens`: the tokens with their surprisals, and which are selected."""
    listed = ", ".join(f"{_printable(word)} {short(s)}" for word, s in zip(words, surprisal, strict=True))
    text = f"An answer of {len(words)} tokens, each with its surprisal in nats: {listed}."
    if selected is not None:
        chosen = ", ".join(_printable(word) for word, is_chosen in zip(words, selected, strict=True) if is_chosen)
        text += f" Selected: {chosen or 'none'}."
    return text


def all_in_words(words: Sequence[str], readings: Mapping[str, np.ndarray], selected: np.ndarray | None = None) -> str:
    """Alt text of `before_and_after`: every reading by its name; what is selected is said once."""
    first, *others = (f"{name}: {in_words(words, values)}" for name, values in readings.items())
    if selected is not None:
        first = f"{next(iter(readings))}: {in_words(words, next(iter(readings.values())), selected)}"
    return " ".join([first, *others])


def demoted_position(
    ax: Axes, words: Sequence[str], p: np.ndarray, q: np.ndarray, memorised: int, logarithmic: bool = False
) -> None:
    """Bars of one position: the frozen model's p_t (V,) and the target q_t (V,) of the tokens that matter, and the rest.

    Shown are the most probable tokens of either and the memorised one; "all others" sums up what is left.
    """
    order = np.argsort(-np.maximum(p, q), kind="stable")[: SHOWN - 1]
    if memorised not in order:
        order = np.append(order[:-1], memorised)
    order = order[np.argsort(-p[order], kind="stable")]
    rest = np.delete(np.arange(len(p)), order)
    place = np.arange(len(order) + bool(len(rest)))
    for values, shift, colour, name in ((p, -0.2, BEFORE, "frozen model, p"), (q, 0.2, AFTER, "target, q")):
        shown = [*values[order], values[rest].sum()][: len(place)]
        ax.barh(place + shift, shown, height=0.38, color=colour, label=name)
    names = [textwrap.shorten(_printable(words[token]), 16, placeholder="…") for token in order] + ["all others"]
    ax.set_yticks(place, names[: len(place)])
    row = int(np.flatnonzero(order == memorised)[0])
    ax.get_yticklabels()[row].set(color=MEMORISED, weight="bold")
    ax.invert_yaxis()
    if logarithmic:
        ax.set_xscale("log")
    ax.set(xlabel="probability", xlim=(1e-6, 1.3) if logarithmic else (0, 1.02))
    ax.grid(False, axis="y")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)


def short(nats: float) -> str:
    """A surprisal in at most five characters."""
    if nats < 0.01:
        return f"{nats:.0e}".replace("e-0", "e-") if nats >= 1e-9 else "0"
    return f"{nats:.2f}" if nats < 10 else f"{nats:.0f}"


def _printable(word: str) -> str:
    return word.strip().replace("Ġ", "").replace("▁", "").replace("\n", "⏎").replace("$", r"\$") or "␣"
