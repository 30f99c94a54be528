"""The numbers that the real sample gives: 13 routes of the challenge, and its Los Angeles routes as lines of a table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from entropy_utils.information import log_factorial
from entropy_utils.last_mile import bearings, distances, tours
from entropy_utils.last_mile.almrrc import load_almrrc
from entropy_utils.last_mile.power_law import decile_means, fit_power_law
from entropy_utils.last_mile.real_samples import geometric_entropy, los_angeles_routes
from entropy_utils.last_mile.scenarios import Consolidation

DATA = os.environ.get("ENTROPY_DATA_DIR")
pytestmark = pytest.mark.skipif(not DATA, reason="ENTROPY_DATA_DIR is not set")


@pytest.fixture(scope="module")
def table():
    return load_almrrc(Path(DATA) / "almrrc-sample", "apply")


@pytest.fixture(scope="module")
def sweep(table) -> pd.DataFrame:
    experiment = Consolidation(draws=20, alphas=(0.5, 0.6, 0.65, 0.7, 0.75, 0.9))
    return pd.DataFrame(experiment.sweep(table)).set_index(["points", "alpha", "chi"])


@pytest.mark.parametrize(
    ("K", "alpha", "carrier", "total", "even"),
    [(5, 0.7, -0.398, 0.22, 0.35), (3, 0.6, -0.38, 0.14, 0.26), (10, 0.9, -0.42, 0.38, 0.46), (1, 0.9, -0.88, -0.075, 0.0)],
)
def test_carrier_total_and_break_even(sweep, K, alpha, carrier, total, even):
    found = sweep.loc[K, alpha, 0.0]
    assert found.carrier_change == pytest.approx(carrier, abs=0.01)
    assert found.total_change == pytest.approx(total, abs=0.01)
    assert found.break_even == pytest.approx(even, abs=0.01)


def test_chaining_reverses_the_rise(sweep):
    assert sweep.loc[5, 0.7, 0.5].total_change == pytest.approx(-0.09, abs=0.01)
    assert sweep.loc[5, 0.7, 1.0].total_change == pytest.approx(-0.40, abs=0.01)


def test_forty_per_cent_are_crossed_at_seven_tenths(sweep):
    carrier = sweep.xs(0.0, level="chi").loc[5].carrier_change
    crossing = np.interp(0.4, -carrier.to_numpy(), carrier.index.to_numpy())
    assert crossing == pytest.approx(0.70, abs=0.05)


def test_driven_tours_are_a_fifth_longer(table):
    ratios = []
    for route in table:
        xy = distances.plane(np.append(route.station_lat, route.lat), np.append(route.station_lng, route.lng))
        ratios.append(tours.tour_length(xy, np.arange(len(xy))) / tours.tour_length(xy, tours.shortest_tour(xy, 4)))
    assert np.mean(ratios) == pytest.approx(1.19, abs=0.015)
    assert (min(ratios), max(ratios)) == pytest.approx((1.05, 1.39), abs=0.015)


def test_straight_kilometres(table):
    assert distances.local_distance(table).mean() == pytest.approx(30.2, abs=0.1)


@pytest.mark.parametrize(
    ("metro", "entropy", "order"), [("DBO", 3.55, 0.03), ("DLA", 3.49, 0.08), ("DCH", 3.48, 0.09), ("DSE", 3.44, 0.13)]
)
def test_bearings_of_legs(table, metro, entropy, order):
    found = bearings.bearing_entropy(bearings.leg_bearings(table.select(table.metro == metro)))
    assert found == pytest.approx(entropy, abs=0.006)
    assert bearings.order_indicator(found) == pytest.approx(order, abs=0.006)


@pytest.fixture(scope="module")
def los_angeles() -> tuple[pd.DataFrame, dict]:
    table = los_angeles_routes(Path(DATA) / "almrrc-sample").dropna(subset="drive_km")
    N, M = table.n_packages.to_numpy(), table.n_dropoffs.to_numpy()
    S = geometric_entropy(N, M)
    return table, {"S": S, "eta": S / log_factorial(N), "ln M!": log_factorial(M), "M": M, "M/N": M / N}


@pytest.mark.parametrize(
    ("measure", "exponent", "r_squared"),
    [("S", 0.04, 0.0004), ("ln M!", 0.43, 0.166), ("M", 0.54, 0.166), ("eta", 4.36, 0.289), ("M/N", 0.87, 0.305)],
)
def test_exponents_of_los_angeles(los_angeles, measure, exponent, r_squared):
    table, measures = los_angeles
    law = fit_power_law(measures[measure], table.drive_km, 300)
    assert law.routes == 2874
    assert law.exponent == pytest.approx(exponent, abs=0.01)
    assert law.r_squared == pytest.approx(r_squared, abs=0.005)
    assert (law.low <= 0 <= law.high) == (measure == "S")


def test_means_of_tenths_hide_the_scatter(los_angeles):
    table, measures = los_angeles
    law = fit_power_law(*decile_means(measures["eta"], table.drive_km))
    assert law.exponent == pytest.approx(4.6, abs=0.05)
    assert law.r_squared == pytest.approx(0.985, abs=0.005)


def test_entropy_over_distance_is_a_relation_made_of_nothing(los_angeles):
    """S / D falls as 1 / D however little S knows of D."""
    table, measures = los_angeles
    law = fit_power_law(table.drive_km, measures["S"] / table.drive_km)
    assert law.exponent == pytest.approx(-0.99, abs=0.01)
    assert law.r_squared == pytest.approx(0.77, abs=0.02)


def test_driving_and_straight_kilometres(los_angeles):
    table, _ = los_angeles
    assert table.drive_km.mean() == pytest.approx(84.1, abs=0.05)
    assert table.drive_km.mean() / table.euclid_km.mean() == pytest.approx(1.43, abs=0.005)
