"""The animated GIF: its frames, its size, and that it shows the records."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from entropy_utils import lab
from entropy_utils.boltzmann_gas import pictures
from entropy_utils.boltzmann_gas.animation import FRAMES, Film, expansion_gif
from entropy_utils.boltzmann_gas.expansion import Expansion, snapshot
from entropy_utils.lab.errors import ParameterError


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    return lab.collect(Expansion(discs=500, duration=2.0, records=50, shown=400), progress=False).records


def frames(gif: bytes) -> list[np.ndarray]:
    film = Image.open(io.BytesIO(gif))
    found = []
    for number in range(film.n_frames):
        film.seek(number)
        found.append(np.asarray(film.convert("RGB")).astype(int))
    return found


def pixels(frame: np.ndarray, colour: str) -> np.ndarray:
    """Columns of the pixels of (nearly) that colour."""
    return (np.abs(frame - 255 * np.array(to_rgb(colour))).max(-1) < 12).nonzero()[1]


def test_a_film_of_the_expansion(records, tmp_path):
    buffer = io.BytesIO()
    gif = expansion_gif(records, buffer)
    assert buffer.getvalue() == gif
    expansion_gif(records[:4], tmp_path / "film.gif")
    assert (tmp_path / "film.gif").read_bytes()[:6] == b"GIF89a"
    assert len(gif) < 600_000
    film = frames(gif)
    assert len(film) == FRAMES
    width = film[0].shape[1]
    orange = [pixels(frame[:, : width // 3], pictures.ORANGE) for frame in film]  # the box alone
    assert orange[-1].max() > 1.3 * orange[0].max()  # the discs have spread to the right
    green = [len(pixels(frame[:, 2 * width // 3 :], pictures.GREEN)) for frame in film]
    assert green[0] < green[FRAMES // 2] < green[-1]  # the curve grows
    assert Image.open(io.BytesIO(gif)).info["loop"] == 0


def test_a_frame_shows_its_record(records):
    film = Film(records)
    film.frame(10)
    x, y, vx = snapshot(records.snapshot.iloc[10])
    left = snapshot(records.snapshot.iloc[0])[0] < 0.25
    np.testing.assert_array_equal(film.box.lines[0].get_xydata(), np.column_stack([x, y])[left])
    np.testing.assert_array_equal(film.phase.lines[1].get_xydata(), np.column_stack([x, vx])[~left])
    for line, dv in zip(film.curves.lines, (1.0, 0.5, 0.25), strict=False):
        np.testing.assert_array_equal(line.get_ydata(), records[f"gain_{dv:g}"][:11])


def test_records_without_places_or_of_two_seeds_are_refused(records):
    with pytest.raises(ParameterError, match="shown above 0"):
        expansion_gif(records.drop(columns="snapshot"))
    with pytest.raises(ParameterError, match="one seed"):
        expansion_gif(pd.concat([records, records.assign(seed=1)]))
    with pytest.raises(ParameterError, match="shown above 0"):
        expansion_gif(records[:0])
