"""A picture drawn again and again has the pixels of a fresh one, whatever the frames before it did."""

import io
import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from entropy_utils.lab.figures import DPI
from entropy_utils.lab.picture import Picture

X = np.linspace(0, 6, 50)


def curve(fig):
    ax = fig.subplots()
    ax.plot(X, np.sin(X), label="sin x")
    ax.set(xlabel="x / m", ylabel="entropy / nats", title="a sine")
    ax.legend()


def image(fig):
    ax = fig.subplots()
    fig.colorbar(ax.imshow(np.arange(12).reshape(3, 4)), label="p")


def bare(fig):
    ax = fig.subplots()
    ax.plot(X, X)
    ax.set_axis_off()
    ax.spines["left"].set_visible(False)
    ax.set_facecolor("0.9")


def logarithmic(fig):
    ax = fig.subplots()
    ax.loglog(X + 1e-3, np.exp(X))
    ax.tick_params(labelrotation=30, labelsize=6, color="red")
    ax.grid(which="both")
    ax.invert_yaxis()


def own_ticks(fig):
    ax = fig.subplots()
    ax.bar(["cold", "warm", "hot"], [1, 2, 3])
    ax.set_yticks([0, 1.5, 3], ["none", "half", "all"])
    for label in ax.get_xticklabels():
        label.set_color("blue")
    ax.spines["bottom"].set_position(("data", 1))


def twins(fig):
    left, right = fig.subplots(1, 2, sharey=True)
    left.plot(X, X)
    right.twinx().plot(X, 1e5 * X, "r")
    right.xaxis.tick_top()
    right.set_title("top")


def offset(fig):
    ax = fig.subplots()
    ax.plot(X, 1e9 * X)
    ax.set_title("exponent beside the title", loc="left")
    ax.set_ylabel("$\\ln W$")


def mosaic(fig):
    axes = fig.subplot_mosaic([["a", "b"], ["a", "c"]], per_subplot_kw={"c": {"projection": "polar"}})
    axes["a"].hist(X % 2)
    axes["b"].minorticks_on()
    axes["c"].plot(X, X)


def two(fig):
    upper, lower = fig.subplots(2)
    upper.set_title("upper", color="green", fontsize=18)
    lower.set_visible(False)
    upper.set_xlabel("far below", labelpad=20)


DRAWINGS = [curve, image, bare, logarithmic, own_ticks, twins, offset, mosaic, two]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_every_frame_is_that_of_a_new_picture():
    expected, margins, order = {}, {}, []
    for number, draw in enumerate(DRAWINGS):
        fitted, new = Picture((4, 3)), Picture((4, 3))
        fitted.png(draw)
        margins[draw] = new._margins, new._lift_titles = fitted._margins, fitted._lift_titles
        expected[draw] = new.png(draw)
        # every drawing follows every other, and itself
        order += [draw, *(step for later in DRAWINGS[number + 1 :] for step in (draw, later)), draw]
    used = Picture((4, 3))
    used.png(order[0])
    for before, draw in itertools.pairwise(order):
        used._margins, used._lift_titles = margins[draw]
        assert used.png(draw) == expected[draw], f"{draw.__name__} after {before.__name__}"


def test_the_pixels_are_matplotlibs_but_for_texts_on_whole_pixels():
    picture = Picture()
    mine = pixels(picture.png(curve))
    figure = Figure((7, 4), dpi=DPI, facecolor="white", layout="none")
    canvas = FigureCanvasAgg(figure)
    figure.subplots_adjust(**picture._margins)
    curve(figure)
    canvas.draw()
    theirs = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    assert mine.shape == theirs.shape
    assert (mine != theirs).any(axis=-1).mean() < 0.03
    box = figure.axes[0].get_window_extent()
    rows = slice(int(mine.shape[0] - box.y1) + 3, int(mine.shape[0] - box.y0) - 3)
    legend = figure.axes[0].get_legend().get_window_extent()
    columns = slice(int(box.x0) + 3, int(legend.x0) - 3)
    np.testing.assert_array_equal(mine[rows, columns], theirs[rows, columns])


def test_margins_stay_until_a_label_would_be_cut_off():
    picture = Picture()
    places = []
    for scale in (1, 1.02, 1e8, 1e8):

        def draw(fig, scale=scale):
            ax = fig.subplots()
            ax.plot(X, scale * X)
            ax.ticklabel_format(style="plain")
            ax.set_ylabel("y")

        frame = pixels(picture.png(draw))
        edges = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
        assert (edges == 255).all(), f"ink on the edge at scale {scale}"
        places.append(picture.figure.axes[0].get_position().x0)
    assert places[0] == places[1] < places[2] == places[3]


@pytest.mark.parametrize("angle", [0, 90, 33])
def test_a_stamped_text_lies_where_matplotlib_puts_it(angle):
    def draw(fig):
        fig.text(0.4, 0.5, "gy $x^2$", rotation=angle, fontsize=20)

    picture = Picture()
    mine = pixels(picture.png(draw)).min(axis=-1)
    with matplotlib.rc_context({"figure.facecolor": "white"}):
        figure = Figure((7, 4), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()
    theirs = np.asarray(canvas.buffer_rgba())[..., :3].min(axis=-1)
    for axis in (0, 1):
        where = [np.flatnonzero((p < 128).any(axis=axis))[[0, -1]] for p in (mine, theirs)]
        assert np.abs(where[0] - where[1]).max() <= 1


def test_the_gaps_between_panels_stay_too():
    def draw(fig):
        for ax in fig.subplots(1, 3):
            ax.set_ylabel("a label\nof three\nlines")

    picture, places = Picture(), []
    for _ in range(3):
        picture.png(draw)
        places.append([tuple(ax.get_position().bounds) for ax in picture.figure.axes])
    assert places[0] == places[1] == places[2]
