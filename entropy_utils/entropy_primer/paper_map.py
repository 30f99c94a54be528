"""The map of the collection: four quantities, how each turns into the next, and which paper measures what."""

from __future__ import annotations

from matplotlib.patches import FancyBboxPatch

INK, PALE = "#222222", "#56606b"
# name, how to read it, colour, left edge and width in columns
QUANTITIES = [
    (r"$\frac{3}{2}\,\ln K$", "a gas, per particle", "#D55E00", 0, 1),
    (r"$\ln W$", "ways to arrange", "#0072B2", 1, 1),
    (r"$H = -\sum p\,\ln p$", "mean surprise", "#00805E", 2, 2),
    (r"$-\ln p$", "one surprise", "#A64D79", 4, 1),
]
LINKS = ["ideal gas\n(1.7)", "Stirling\n(1.3)", "mean\n(1.2)"]
# number, title, what could still happen, what becomes of the entropy; column and row
CARDS = [
    ("03", "Cool cores", "states of hot gas\nin a galaxy cluster", "heated up,\nseldom cooled", 0, 0),
    ("01", "Boltzmann gas", "states of a gas\nlet into a new room", "grows by ln 2\nper particle", 1, 0),
    ("02", "Last-mile logistics", "parcels over stops", "moved to\nthe customer", 1, 1),
    ("04", "Attention entropy", "where a head\nmay look", "collapses; and\nwhat prevents it", 2, 0),
    ("05", "Entropy mechanism", "a policy's\nnext token", "falls as\nreward rises", 2, 1),
    ("06", "Entropy dynamics", "the next token,\nafter one update", "its change,\ntoken by token", 2, 2),
    ("07", "STEER", "the next token,\nafter one update", "its change,\nas a weight", 3, 0),
    ("08", "Entrocraft", "the next token,\nin long runs", "held on\na schedule", 3, 1),
    ("10", "One lens", "the next token,\nwith all methods", "compared\non one task", 3, 2),
    ("09", "SHRED", "one token of a text\nto be forgotten", "high where\nmemory sits", 4, 0),
]
CARD = 1.28  # height of a card in inches


def draw(fig):
    """Draw the map on an empty figure of 9 x 6.4 inches; lengths are inches, a column is 1.78 wide."""
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 9), ylim=(0, 6.4))
    ax.axis("off")
    ax.text(4.5, 6.1, "What could still happen?", ha="center", va="center", fontsize=16, color=INK)
    for name, reading, colour, column, width in QUANTITIES:
        left, middle = column_left(column), column_left(column) + 0.89 * width
        box(ax, left + 0.16, 4.9, 1.78 * width - 0.32, 0.86, colour, colour)
        ax.text(middle, 5.43, name, ha="center", va="center", fontsize=14, color="white")
        ax.text(middle, 5.07, reading, ha="center", va="center", fontsize=9.5, color="white")
    for link, column in zip(LINKS, (1, 2, 4), strict=True):
        x = column_left(column)
        ax.annotate("", (x + 0.18, 5.33), (x - 0.18, 5.33), arrowprops={"arrowstyle": "<->", "color": INK, "lw": 1.5})
        ax.text(x, 4.62, link, ha="center", va="center", fontsize=9, color=INK, linespacing=1)
    colours = {start + shift: colour for _, _, colour, start, width in QUANTITIES for shift in range(width)}
    for number, title, what, fate, column, row in CARDS:
        card(ax, column_left(column) + 0.06, 2.96 - (CARD + 0.12) * row, colours[column], number, title, what, fate)
    ax.text(0.2, 0.55, "On every card:\nwhat could still happen,", fontsize=9, color=INK, linespacing=1.3)
    ax.text(0.2, 0.35, "what becomes of the entropy", fontsize=9, color=PALE, style="italic")


def column_left(column: int) -> float:
    return 0.05 + 1.78 * column


def box(ax, x, y, width, height, edge, face):
    style = "round,pad=0,rounding_size=0.09"
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, edgecolor=edge, facecolor=face, linewidth=1.4))


def card(ax, x, y, colour, number, title, what, fate):
    box(ax, x, y, 1.66, CARD, colour, "white")
    ax.text(x + 0.08, y + CARD - 0.09, number, fontsize=9, color=colour, weight="bold", va="top")
    ax.text(x + 0.08, y + CARD - 0.25, title, fontsize=9.5, color=INK, weight="bold", va="top")
    ax.text(x + 0.08, y + CARD - 0.46, what, fontsize=9, color=INK, va="top", linespacing=1.15)
    ax.text(x + 0.08, y + 0.08, fate, fontsize=9, color=PALE, va="bottom", style="italic", linespacing=1.15)
