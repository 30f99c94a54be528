"""What notebook 02 measures: against counts by hand, and on cases whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from entropy_utils.last_mile import measures
from entropy_utils.last_mile.structural_entropy import boltzmann_entropy
from entropy_utils.last_mile.synthetic_city import synthetic_almrrc

TABLE = synthetic_almrrc(30, 1)


def test_statistics_of_a_table():
    found = measures.statistics(TABLE)
    assert found.shape == measures.PUBLISHED.shape
    stops = [len(route.n) + 1 for route in TABLE]
    assert found.stops.tolist() == [np.percentile(stops, 10), np.mean(stops), np.percentile(stops, 90), np.std(stops)]
    assert found.packages["mean"] == np.mean([route.n.sum() for route in TABLE])
    assert found.service["mean"] == pytest.approx(np.mean([route.service.sum() for route in TABLE]) / 3600, rel=1e-5)


def test_random_loads_are_even_and_uneven():
    loads = measures.random_loads(300, 0)
    assert all(n.min() >= 1 and 2 <= len(n) <= 40 for n in loads)
    assert any(n.max() > 0.8 * n.sum() for n in loads)
    assert any(np.ptp(n) <= 1 for n in loads)
    assert not all((a == b).all() for a, b in zip(loads, measures.random_loads(300, 1), strict=True) if len(a) == len(b))


def test_what_holds_always_and_what_a_wrong_entropy_would_break(monkeypatch):
    assert measures.outside(200, 3) == (0, 0)
    assert measures.conservation_error(100, 3) < 1e-12
    assert measures.one_locker_error(50, 3) < 1e-9
    monkeypatch.setattr(measures, "boltzmann_entropy", lambda n: 1.1 * boltzmann_entropy(n))
    above_balanced, above_shannon = measures.outside(200, 3)
    assert above_balanced > 50
    assert above_shannon > 10


def test_accountings():
    found = measures.accountings(TABLE, 0.7, 5, 0.0, 2)
    assert found.carrier.nunique() == 1
    assert found.total["separate", "one per parcel"] == pytest.approx(0, abs=1e-12)
    assert found.total["pooled", "one per parcel"] > found.total["pooled", "one per customer"] > 0
    assert found.total["separate", "one per customer"] < 0


def test_crossing_between_two_adoptions():
    rows = [(5, chi, alpha, change) for chi in (0.0, 1.0) for alpha, change in ((0.5, -0.3), (0.7, -0.5))]
    records = pd.DataFrame(rows, columns=["points", "chi", "alpha", "carrier_change"])
    assert measures.crossing(records, 5) == pytest.approx(0.6)
    assert math.isnan(measures.crossing(records, 5, change=-0.9))
    assert math.isnan(measures.crossing(records, 5, change=-0.2))  # before the smallest adoption


def test_between_zones_is_all_if_every_stop_is_a_zone():
    one = TABLE.select([0])
    own, shared = one.zone.copy(), one.zone.copy()
    own[1:], shared[1:] = np.arange(len(own) - 1), 0
    names = np.arange(len(own)).astype(str)
    assert measures.between_zones(replace(one, zone=own, zone_names=names)) == pytest.approx(1)
    assert measures.between_zones(replace(one, zone=shared, zone_names=names)) == pytest.approx(0)


def test_full_data_counts_and_compares():
    found = measures.full_data(TABLE)
    assert found["02.amazon-counts"] == 1_457_175 - TABLE.n.sum()
    assert 0 < found["02.amazon-persistent"] < 0.2


def test_runs_of_zones():
    stops = pd.DataFrame({"route": [0, 0, 0, 0, 0, 1, 1], "zone_id": [None, "A", "A", "B", "A", "A", "B"]})
    assert measures.zone_runs(stops) == (2.0, 2.5)


def test_driven_is_never_much_shorter_than_local_search():
    ratios = measures.driven_over_short(TABLE.select(slice(6)))
    assert (ratios > 0.98).all()
    assert ratios.mean() > 1.05
