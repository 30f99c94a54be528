"""A playground answers every setting with a finite picture, merges events, and shows a picture without a kernel."""

import asyncio
import base64
import io

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from entropy_utils.lab import ParameterError, Playground
from entropy_utils.lab.playground import PATIENCE_S, SETTLE_S

P = np.linspace(0.01, 0.99, 50)


def draw(fig, order, colour, log, count):
    ax = fig.subplots()
    power = np.log(P**order + (1 - P) ** order) / (1 - order) if order != 1 else -P * np.log(P)
    ax.plot(P, power + count, colour)
    ax.set(xlabel="p", ylabel="Rényi entropy / nats", yscale="log" if log else "linear")


def playground(function=draw, **more):
    controls = {"order": (0.0, 3.0, 0.1), "colour": ["k", "r--"], "log": False, "count": (1, 9, 2, 3), **more}
    return Playground(function, figsize=(4, 2.5), alt="Entropy over p.", caption="Entropy.", **controls)


def counting(**more):
    drawn = []

    def record(fig, **values):
        drawn.append(values)

    return playground(record, **more), drawn


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_every_extreme_and_200_random_settings_draw_a_picture():
    ground = playground()
    rng = np.random.default_rng(0)
    ends = [[order, c, log, n] for order in (0.0, 3.0) for c in ("k", "r--") for log in (False, True) for n in (1, 9)]
    random = [
        [rng.uniform(0, 3), rng.choice(["k", "r--"]).item(), bool(rng.integers(2)), int(rng.integers(1, 10))]
        for _ in range(200)
    ]
    for values in ends + random:
        ground.set(**dict(zip(ground.controls, values, strict=True)))
        frame = picture(ground.png)
        assert frame.shape == (275, 440, 3)
        assert 0.005 < (frame < 250).any(axis=-1).mean() < 0.9
        assert ground.message.value == ""


def test_the_short_forms_make_the_controls():
    own = ipywidgets.FloatText(2.5)
    ground = Playground(lambda fig, **values: None, a=(0, 10, 3), b=(0.0, 1.0, 0.25, 1.0), c=["x", "y"], d=True, e=own)
    kinds = [type(widget).__name__ for widget in ground.controls.values()]
    assert kinds == ["IntSlider", "FloatSlider", "Dropdown", "Checkbox", "FloatText"]
    assert ground.values == {"a": 6, "b": 1.0, "c": "x", "d": True, "e": 2.5}


@pytest.mark.parametrize(
    "spec", [(1, 0, 1), (0, 1), (0, 1, 0), (0, 1, 2), (0, 1, 1, 5), ("a", "b", "c"), [], None, "x", (0, True, 1), {}]
)
def test_a_control_that_makes_no_sense_is_named(spec):
    with pytest.raises(ParameterError, match=r"^control 'x': got .*, allowed: \(min, max, step\)") as error:
        Playground(lambda fig, x: None, x=spec)
    assert "\n" not in str(error.value)


def test_set_refuses_what_a_control_would_clamp_and_changes_nothing():
    ground, drawn = counting()
    before = ground.values
    for values, message in (
        ({"order": 1.0, "count": 99}, "control 'count': got 99 .*allowed: 1 to 9"),
        ({"colour": "blue"}, "control 'colour': got 'blue' .*allowed: 'k' or 'r--'"),
        ({"order": "1e-1"}, "control 'order': got '1e-1'"),
        ({"orders": 1}, "unknown control 'orders': .*allowed: order, colour, log, count"),
    ):
        with pytest.raises(ParameterError, match=message):
            ground.set(**values)
        assert ground.values == before
    assert len(drawn) == 1


def test_a_slider_in_a_script_redraws_at_once():
    ground, drawn = counting()
    old = ground.png
    ground.controls["order"].value = 2.5
    assert drawn[-1]["order"] == 2.5
    assert ground.image.value == ground.png
    assert len(drawn) == 2
    assert ground.png == old  # nothing drawn, nothing changed


def test_many_queued_events_make_one_redraw_with_the_last_values():
    ground, drawn = counting()

    async def drag():
        for order in np.linspace(0, 3, 500):
            ground.controls["order"].value = order
        assert len(drawn) == 1
        await asyncio.sleep(PATIENCE_S + 10 * SETTLE_S)

    asyncio.run(drag())
    assert len(drawn) == 2
    assert drawn[-1]["order"] == 3.0


def test_events_that_keep_coming_are_drawn_in_between():
    ground, drawn = counting()

    async def drag():
        for order in np.linspace(0.1, 3, 400):
            ground.controls["order"].value = order
            await asyncio.sleep(0.001)
        await asyncio.sleep(PATIENCE_S + 10 * SETTLE_S)

    asyncio.run(drag())
    assert 3 <= len(drawn) < 100
    assert drawn[-1]["order"] == 3.0


def test_the_png_is_never_older_than_the_controls():
    ground, drawn = counting()

    async def ask():
        ground.controls["order"].value = 0.5
        assert ground.png
        assert drawn[-1]["order"] == 0.5
        await asyncio.sleep(PATIENCE_S)

    asyncio.run(ask())
    assert len(drawn) == 2  # the planned redraw found nothing left to do


def test_an_error_is_shown_in_the_panel_and_raised_by_set():
    def fragile(fig, x):
        if x > 1:
            raise ZeroDivisionError("x <is>\ntoo large")
        fig.text(0.5, 0.5, "fine")

    ground = Playground(fragile, x=(0, 3, 1, 0))
    fine = ground.png
    ground.controls["x"].value = 2
    assert "ZeroDivisionError: x &lt;is&gt; too large" in ground.message.value
    assert ground.image.value == fine
    with pytest.raises(ZeroDivisionError):
        ground.set(x=3)
    ground.set(x=1)
    assert ground.message.value == ""
    with pytest.raises(ZeroDivisionError):
        Playground(fragile, x=(2, 3, 1))


def test_without_a_kernel_there_is_a_picture_and_its_description():
    ground = playground()
    data, metadata = ground._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == ground.png
    assert data["text/plain"] == "Entropy over p."
    assert metadata["image/png"]["alt"] == "Entropy over p."
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == ground.panel.model_id
    ground.set(order=0.3)
    later = ground._repr_mimebundle_()[0]["image/png"]
    assert base64.b64decode(later) == ground.png
    assert later != data["image/png"]


def test_the_panel_holds_no_output_widget():
    def kinds(widget):
        return {type(widget).__name__}.union(*(kinds(child) for child in getattr(widget, "children", ())))

    controls = {"IntSlider", "FloatSlider", "Dropdown", "Checkbox"}
    assert kinds(playground().panel) == {"VBox", "HBox", "Image", "HTML"} | controls
