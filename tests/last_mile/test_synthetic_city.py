"""The synthetic city against the published statistics of the real one, and the driven order against a plain version."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import skew

from entropy_utils.lab.errors import ParameterError
from entropy_utils.last_mile import structural_entropy as se
from entropy_utils.last_mile.almrrc_writer import _windows, to_json
from entropy_utils.last_mile.distances import legs, local_distance
from entropy_utils.last_mile.route_table import PER_STOP, RouteTable
from entropy_utils.last_mile.synthetic_city import METROS, drive, synthetic_almrrc, transit_hours, travel_seconds


@pytest.fixture(scope="module")
def city() -> RouteTable:
    return synthetic_almrrc(3000, seed=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[RouteTable, list[dict]]:
    """Twelve routes and their four JSON files."""
    table, folder = synthetic_almrrc(12, seed=2), tmp_path_factory.mktemp("json")
    to_json(table, folder, travel_times=True)
    names = ("route_data", "actual_sequences", "package_data", "travel_times")
    return table, [json.loads((folder / "model_build_inputs" / f"{name}.json").read_text()) for name in names]


# Table 2 of the data paper: P10, mean and P90 within 5 %, standard deviation within 20 %


def quantities(table: RouteTable) -> dict[str, np.ndarray]:
    service = np.add.reduceat(table.service, table.starts, dtype=float) / 3600
    transit = transit_hours(table)
    return {
        "stops": table.sizes + 1,
        "packages": np.add.reduceat(table.n, table.starts, dtype=int),
        "transit": transit,
        "service": service,
        "total": transit + service,
    }


@pytest.mark.parametrize(
    ("name", "p10", "mean", "p90", "sd"),
    [
        ("stops", 105, 148.0, 186, 31.0),
        ("packages", 197, 238.5, 278, 31.0),
        ("transit", 2.6, 3.6, 4.6, 0.7),
        ("service", 3.4, 4.5, 5.6, 0.9),
        ("total", 7.1, 8.1, 9.1, 0.8),
    ],
)
def test_table_2(city, name, p10, mean, p90, sd):
    values = quantities(city)[name]
    found = np.percentile(values, 10), values.mean(), np.percentile(values, 90)
    assert found == pytest.approx((p10, mean, p90), rel=0.05)
    assert values.std() == pytest.approx(sd, rel=0.2)


def test_packages_with_a_window():
    rng = np.random.default_rng(0)
    count = np.array([len(_windows(238, rng)[0]) for _ in range(6000)])
    assert count.mean() == pytest.approx(18.6, rel=0.05)
    assert np.percentile(count, 90) == pytest.approx(40, rel=0.05)
    assert np.percentile(count, 10) == pytest.approx(2, abs=1)
    assert count.std() == pytest.approx(15.2, rel=0.2)


# Counts of the whole training split


def test_parcels_per_stop(city):
    n = city.n[city.n > 0]
    assert n.mean() == pytest.approx(1.622, rel=0.02)
    shares = [np.mean(n == k) for k in range(1, 6)]
    assert shares == pytest.approx([0.669, 0.214, 0.072, 0.025, 0.010], abs=0.03)
    packages = quantities(city)["packages"]
    assert packages.min() >= 150
    assert packages.max() <= 304
    assert np.corrcoef(city.sizes, packages)[0, 1] == pytest.approx(0.53, abs=0.05)
    los_angeles = city.sizes[city.metro == "DLA"]
    assert skew(los_angeles) == pytest.approx(-0.54, abs=0.2)
    assert city.sizes.max() <= 237


def test_entropy_is_nearly_maximal_as_in_los_angeles(city):
    eta = se.route_entropies(city).eta
    assert 0.89 < eta.mean() < 0.94
    assert eta.quantile([0.1, 0.9]).tolist() == pytest.approx([0.868, 0.946], abs=0.02)


def test_zones(city):
    zoned = city.zone[city.n > 0] >= 0
    assert 1 - zoned.mean() == pytest.approx(0.0073, abs=0.001)
    sizes = [size for route in city.select(slice(0, 600)) for size in np.unique(route.zone, return_counts=True)[1]]
    assert np.mean(sizes) == pytest.approx(7.1, rel=0.08)
    assert np.std(sizes) == pytest.approx(3.6, rel=0.1)
    assert all(np.char.count(city.zone_names, "-") == 1)
    pattern = r"[A-EGHJ-NP]-([1-9]|[12]\d|3[0-4])\.[123][ABCDEGHJ]"
    assert all(re.fullmatch(pattern, name) for name in city.zone_names)
    assert city.zone_names.tolist() == sorted(set(city.zone_names.tolist()))
    assert set(np.unique(city.zone)) == set(range(-1, len(city.zone_names)))


def test_cities_and_stations(city):
    shares = {metro: count / len(city) for metro, count in Counter(city.metro.tolist()).items()}
    assert shares == pytest.approx({name: metro.routes / 6112 for name, metro in METROS.items()}, abs=0.03)
    assert sum(metro.routes for metro in METROS.values()) == 6112
    assert all(sum(metro.stations.values()) == metro.routes for metro in METROS.values())
    stations = Counter(city.station_code.tolist())
    assert len(stations) == 17
    assert stations["DLA7"] / len(city) == pytest.approx(1133 / 6112, abs=0.02)
    for code in stations:  # one place each, in its city
        first = city.starts[city.station_code == code]
        assert len(np.unique(city.lat[first])) == len(np.unique(city.lng[first])) == 1
        assert city.lat[first[0]] == pytest.approx(METROS[code[:3]].lat, abs=0.4)
    scores = Counter(city.score.tolist())
    assert [scores[s] / len(city) for s in ("High", "Medium", "Low")] == pytest.approx([0.445, 0.539, 0.017], abs=0.03)
    dates = sorted(set(city.date.tolist()))
    assert (dates[0], dates[-1], len(dates)) == ("2018-07-19", "2018-08-26", 39)


def test_lengths(city):
    assert local_distance(city).mean() == pytest.approx(30.2, rel=0.1)  # of the 13 real routes
    stem = legs(city)[city.starts]
    assert np.median(stem) == pytest.approx(16.2, rel=0.1)


def test_a_fifth_of_the_routes_has_a_stop_called_NA(city):
    names = [city.stop[a:b] for a, b in zip(city.ptr[:-1], city.ptr[1:], strict=True)]
    assert np.mean(["NA" in one for one in names]) == pytest.approx(0.22, abs=0.03)
    assert all(len(set(one.tolist())) == len(one) for one in names[:300])


# The driven order


def driven(rank, turned, swapped, x, y, here) -> list[int]:
    """One route, plainly: zones in their order, in a zone the nearest stop that is left."""
    zones = sorted(set(rank.tolist()), reverse=turned)
    for j in np.flatnonzero(swapped[:-1]):
        zones[j : j + 2] = zones[j : j + 2][::-1]
    order = []
    for zone in zones:
        left = set(np.flatnonzero(rank == zone).tolist())
        while left:
            nearest = min(left, key=lambda i: (x[i] - here[0]) ** 2 + (y[i] - here[1]) ** 2)
            left.remove(nearest)
            order.append(nearest)
            here = x[nearest], y[nearest]
    return order


def test_compiled_order_is_the_plain_one():
    rng = np.random.default_rng(4)
    ranks = [np.sort(rng.integers(0, zones, size)) for zones, size in ((1, 4), (6, 60), (20, 150), (9, 70))]
    ranks = [np.unique(rank, return_inverse=True)[1] for rank in ranks]
    zones = [rank.max() + 1 for rank in ranks]
    ptr, zone_ptr = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in ([len(rank) for rank in ranks], zones))
    x, y = rng.random((2, ptr[-1]))
    turned, swapped, start = np.array([True, False, True, False]), rng.random(sum(zones)) < 0.3, rng.random((2, 4))
    found = drive(ptr, np.concatenate(ranks), zone_ptr, turned, swapped, x, y, *start)
    for r, rank in enumerate(ranks):
        rows, its_zones = slice(ptr[r], ptr[r + 1]), slice(zone_ptr[r], zone_ptr[r + 1])
        plain = driven(rank, bool(turned[r]), swapped[its_zones], x[rows], y[rows], start[:, r])
        assert (found[rows] - ptr[r]).tolist() == plain


def test_zones_are_driven_one_after_the_other(city):
    for route in city.select(slice(0, 200)):
        zone = route.zone[route.zone >= 0]
        assert 1 + np.count_nonzero(np.diff(zone)) == len(np.unique(zone))


# Seeds and sizes


def test_a_seed_gives_one_city():
    one, same, other = (synthetic_almrrc(5, seed) for seed in (7, 7, 8))
    for name in (*PER_STOP, "route_id"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert one.route_id[0] != other.route_id[0]
    assert len(synthetic_almrrc(1)) == 1


@pytest.mark.parametrize("n", [0, -3, 2.5])
def test_a_number_of_routes_that_is_none(n):
    with pytest.raises(ParameterError, match="'n_routes'"):
        synthetic_almrrc(n)


# What the JSON has beside the table


def test_packages_in_the_json(files):
    table, (routes, _, packages, _) = files
    everything = [package for route in packages.values() for stop in route.values() for package in stop.values()]
    assert len(everything) == table.n.sum()
    names = [name for route in packages.values() for stop in route.values() for name in stop]
    assert len(set(names)) == len(names)
    volumes = [np.prod(list(package["dimensions"].values())) for package in everything]
    assert np.mean(volumes) == pytest.approx(11_078, rel=0.1)
    assert np.mean([package["scan_status"] == "DELIVERED" for package in everything]) > 0.98
    windows = [package["time_window"] for package in everything]
    windows = [window for window in windows if isinstance(window["start_time_utc"], str)]
    assert 0 < len(windows) < 0.3 * len(everything)
    dates = {route["date_YYYY_MM_DD"] for route in routes.values()}
    for window in windows:
        start, end = (np.datetime64(window[key]) for key in ("start_time_utc", "end_time_utc"))
        assert np.timedelta64(6, "h") < end - start < np.timedelta64(9, "h")
        assert window["start_time_utc"][:10] in dates
    assert all("12:00:00" < route["departure_time_utc"] < "18:00:00" for route in routes.values())
    assert {route["executor_capacity_cm3"] for route in routes.values()} == {3313071.0, 4247527.0}


def test_travel_times_in_the_json(files):
    table, (routes, sequences, _, times) = files
    for i, name in enumerate(routes):
        matrix = times[name]
        stops = set(routes[name]["stops"])
        assert matrix.keys() == stops
        assert all(row.keys() == stops and row[stop] == 0 for stop, row in matrix.items())
        order = sorted(stops, key=sequences[name]["actual"].get)
        driven = list(pairwise([*order, order[0]]))
        noise = np.log([matrix[a][b] for a, b in driven] / travel_seconds(legs(table)[table.owner == i]))
        assert noise.mean() == pytest.approx(0, abs=0.025)
        assert noise.std() == pytest.approx(0.08, rel=0.25)
        assert any(matrix[a][b] != matrix[b][a] for a, b in driven)


def test_travel_seconds_by_hand():
    assert travel_seconds(np.array([0.0, 6.0, 600.0])) == pytest.approx(
        [20, 20 + 3600 * 8.16 / (15 + 58 * (1 - np.exp(-1))), 20 + 3600 * 816 / 73]
    )
