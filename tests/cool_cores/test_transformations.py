"""The finder: hand-made curves, a reference that loops, invariants, and missing values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils.cool_cores.cosmology import redshift
from entropy_utils.cool_cores.histories import Histories
from entropy_utils.cool_cores.population import KNOWN_SNAPSHOTS, Population
from entropy_utils.cool_cores.runs import SENSITIVITY
from entropy_utils.cool_cores.transformations import find_transformations, smooth
from entropy_utils.lab.errors import ParameterError

T = np.linspace(2.7, 13.7, 80)


def made(*logs, t=T, **more) -> Histories:
    """Histories of these log10 K (arrays, or functions of time)."""
    K0 = 10 ** np.array([log(t) if callable(log) else log for log in logs])
    return Histories(halo_id=np.arange(len(K0)), t=t, z=redshift(t), K0=K0, **more)


def rise(at: float, size: float = 0.6, width: float = 1.0):
    """A step of log10 K by `size` dex, nine tenths of it within `width` Gyr."""
    return lambda t: size / (1 + np.exp(-(t - at) * 2 * np.log(19) / width))


@pytest.fixture(scope="module")
def population() -> Histories:
    return Population(clusters=60, dt=0.02).simulate(4)


def test_a_sigmoid_is_one_event():
    found = find_transformations(made(lambda t: 1.3 + rise(8.0)(t), lambda t: 2.0 - rise(6.0)(t)))
    assert found.direction.tolist() == ["up", "down"]
    assert found.cluster.tolist() == [0, 1]
    np.testing.assert_allclose(found.t_peak, [8.0, 6.0], atol=0.08)
    np.testing.assert_allclose(found.change, [0.6, -0.6], atol=0.05)
    np.testing.assert_allclose(found.K_end, 10 ** np.array([1.9, 1.4]), rtol=0.12)
    assert found.before.tolist() == ["SCC", "WCC"]
    assert found.after.tolist() == ["WCC", "WCC"]
    assert (found.t_start < found.t_peak).all()
    assert (found.t_peak < found.t_end).all()


def test_noise_is_no_event_and_there_and_back_is_two():
    rng = np.random.default_rng(0)
    noise = 1.5 + 0.04 * rng.standard_normal((200, len(T)))
    assert len(find_transformations(made(*noise))) == 0
    back = find_transformations(made(lambda t: 1.4 + rise(6.0)(t) - rise(10.0)(t)))
    assert back.direction.tolist() == ["up", "down"]
    assert back.t_peak.is_monotonic_increasing


def test_a_slow_or_small_change_is_none():
    assert len(find_transformations(made(lambda t: 1 + 0.09 * (t - 2.7)))) == 0  # one dex, slower than 0.1 dex / Gyr
    assert len(find_transformations(made(lambda t: 1 + 0.11 * (t - 2.7)))) == 1
    assert len(find_transformations(made(lambda t: 1 + rise(8.0, 0.19)(t)))) == 0
    assert len(find_transformations(made(lambda t: 1 + rise(8.0, 0.30)(t)), change=0.3)) == 0


def test_smoothing_keeps_a_straight_line_though_snapshots_are_uneven():
    """Inside, weights of uneven snapshots still are a mean: a line is kept to second order in the unevenness."""
    t = np.sort(np.random.default_rng(1).uniform(2.7, 13.7, 400))
    smoothed = smooth(made(lambda t: 1 + 0.1 * t, t=t))
    inside = (smoothed.t > 3.5) & (smoothed.t < 13)
    np.testing.assert_allclose(smoothed.y[0, inside], 1 + 0.1 * smoothed.t[inside], atol=0.01)
    assert np.median(smoothed.slope[0, inside]) == pytest.approx(0.1, abs=0.005)


def reference(histories: Histories, sigma=0.2, rate=0.1, change=0.2, duration=0.3, join=0.2) -> list[tuple]:
    """The brief's procedure cluster by cluster and point by point, lengths counted in whole steps of 0.05 Gyr."""
    events, keep = [], histories.z <= 2.5
    for i, K in enumerate(histories.K0[:, keep]):
        known = ~np.isnan(K)
        t, log = histories.t[keep][known], np.log10(K[known])
        start = histories.t[keep][0]
        grid = [start + 0.05 * k for k in range(int((histories.t[-1] - start) / 0.05 + 1e-9) + 1)]
        weights = [np.exp(-((tau - t) ** 2) / (2 * sigma**2)) for tau in grid]
        y = np.array([np.average(log, weights=w) for w in weights])
        d = np.gradient(y, 0.05)
        for sign in (1, -1):
            runs = []
            for k, slope in enumerate(d):
                if sign * slope > rate:
                    if runs and (k == runs[-1][1] + 1 or k - runs[-1][1] < round(join / 0.05)):
                        runs[-1][1] = k
                    else:
                        runs.append([k, k])
            for a, b in runs:
                if abs(y[b] - y[a]) >= change and b - a >= round(duration / 0.05) and sign * (y[b] - y[a]) > 0:
                    events.append((i, a, b, a + int(np.argmax(sign * d[a : b + 1]))))
    return sorted(events)


@pytest.mark.parametrize("label", SENSITIVITY)
def test_the_reference_finds_the_same(population, label):
    changes = SENSITIVITY[label]
    few = population.select(np.arange(25))
    found = find_transformations(few, **changes)
    start = few.t[few.z <= 2.5][0]
    places = [np.rint((found[name] - start) / 0.05).astype(int) for name in ("t_start", "t_end", "t_peak")]
    assert list(zip(found.cluster, *places, strict=True)) == reference(few, **changes)
    assert len(found) > 20


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.5, 0.5))
def test_mirrored_and_scaled_histories(seed, shift):
    """Entropy in other units has the same events; 1 / K has them in the other direction."""
    walk = 1.7 + np.cumsum(0.09 * np.random.default_rng(seed).standard_normal((6, len(T))), axis=1)
    walk = np.clip(walk, 0.8, 2.9)
    found, scaled, mirrored = (find_transformations(made(*logs)) for logs in (walk, walk + shift, 3.7 - walk))
    for other in (scaled, mirrored):
        np.testing.assert_allclose(other[["t_start", "t_end", "t_peak"]], found[["t_start", "t_end", "t_peak"]])
    assert (scaled.direction == found.direction).all()
    assert (mirrored.direction != found.direction).all()
    assert ((found.change > 0) == (found.direction == "up")).all()
    assert (found.change.abs() >= 0.2).all()
    assert (found.t_end - found.t_start >= 0.3 - 1e-9).all()
    for _, own in found.groupby(["cluster", "direction"]):
        assert (own.t_start.to_numpy()[1:] - own.t_end.to_numpy()[:-1] > 0.2 - 1e-9).all()


def test_missing_values_are_left_out(population):
    few = population.select(np.arange(12))
    holes = few.K0.copy()
    holes[:, 10::9] = np.nan
    broken = replace(few, K0=holes, allow_missing=True)
    found = find_transformations(broken)
    start = few.t[few.z <= 2.5][0]
    assert [(c, round((a - start) / 0.05)) for c, a in zip(found.cluster, found.t_start, strict=True)] == [
        event[:2] for event in reference(broken)
    ]
    late = few.K0.copy()
    late[3, :4] = np.nan
    late[4, -2:] = np.nan
    smoothed = smooth(replace(few, K0=late, allow_missing=True, max_gap=1.0))
    known = ~np.isnan(smoothed.y)
    assert known[:3].all()
    assert smoothed.t[known[3]].min() >= few.t[4]
    assert smoothed.t[known[4]].max() <= few.t[-3] + 1e-9


def test_only_snapshots_after_z_max_count():
    found = find_transformations(made(lambda t: 1.3 + rise(3.3)(t)), z_max=1.5)
    assert len(found) == 0
    assert smooth(made(rise(8.0)), z_max=1.0).t[0] == pytest.approx(T[redshift(T) <= 1.0][0])
    assert KNOWN_SNAPSHOTS[0] > 2.5  # so that the default drops the first


@pytest.mark.parametrize(
    ("field", "value"),
    [("sigma", 0.0), ("rate", -1.0), ("change", 9.0), ("duration", -0.1), ("join", 11.0), ("step", 2.0), ("z_max", -1.0)],
)
def test_wrong_numbers_are_one_line(field, value):
    with pytest.raises(ParameterError, match=field.split("_")[0]):
        find_transformations(made(rise(8.0)), **{field: value})
    with pytest.raises(ParameterError, match="limits"):
        find_transformations(made(rise(8.0)), limits=(150, 22))
