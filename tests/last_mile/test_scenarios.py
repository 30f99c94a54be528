"""The sweep against the plain consolidation of every route; what must fall or rise; distances against theory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from entropy_utils.information import log_factorial
from entropy_utils.lab.errors import BrokenFile, ParameterError
from entropy_utils.lab.experiment import collect
from entropy_utils.last_mile.almrrc_writer import to_json
from entropy_utils.last_mile.power_law import fit_power_law
from entropy_utils.last_mile.scenarios import Consolidation, Distances, route_labels, scenario
from entropy_utils.last_mile.spatial import break_even_chaining, consolidate
from entropy_utils.last_mile.synthetic_city import synthetic_almrrc

CHIS = np.array([0.0, 0.4, 1.0])


@pytest.fixture(scope="module")
def table():
    return synthetic_almrrc(30, 3)


@pytest.mark.parametrize("accounting", ["pooled", "separate"])
@pytest.mark.parametrize("trips", ["customer", "parcel"])
def test_compiled_sweep_is_the_plain_one(table, accounting, trips):
    rng, lf = np.random.default_rng(0), log_factorial(np.arange(2000))
    labels, (adopting, chaining) = route_labels(table, 4), rng.random((2, len(table.n)))
    options = trips == "parcel", accounting == "pooled"
    found, even = scenario(table.n, table.ptr, labels, adopting, chaining, 0.6, CHIS, *options, lf)
    for r, (first, last) in enumerate(zip(table.starts + 1, table.ptr[1:], strict=True)):
        n, adopts = table.n[first:last], adopting[first:last] < 0.6
        for c, chi in enumerate(CHIS):
            travel = np.where(chaining[first:last] >= chi, n if trips == "parcel" else 1, 0)
            plain = consolidate(n, labels[first:last], adopts, travel, accounting)
            right = plain.carrier, plain.customer, plain.trips, plain.mixing, plain.before
            np.testing.assert_allclose(found[r, c], right, rtol=1e-10, atol=1e-9)
        assert even[r] == pytest.approx(break_even_chaining(n.sum(), adopts.sum(), plain.customer), abs=1e-7)


def test_labels_are_within_each_route(table):
    labels = route_labels(table, 5)
    for first, last in zip(table.starts + 1, table.ptr[1:], strict=True):
        assert set(labels[first:last]) == set(range(5))


@pytest.fixture(scope="module")
def records(table) -> pd.DataFrame:
    experiment = Consolidation(draws=2, alphas=(0.0, 0.2, 0.5, 0.7, 0.9, 1.0))
    return pd.DataFrame(experiment.sweep(table))


def test_one_record_per_scenario(records):
    assert len(records) == Consolidation(alphas=(0.0, 0.2, 0.5, 0.7, 0.9, 1.0)).length() == 72
    assert not records.duplicated(["alpha", "points", "chi"]).any()
    assert (records.cases == 60).all()
    assert np.isfinite(records.to_numpy(float)).all()
    parts = records.carrier_change + 1 + records.trips + records.mixing - 1
    np.testing.assert_allclose(parts, records.total_change, atol=1e-9)


def test_what_must_fall_and_rise(records):
    carrier = records[records.chi == 0].pivot(index="alpha", columns="points", values="carrier_change")
    assert (carrier.diff().dropna() < 0).all(axis=None)  # with adoption
    assert (carrier.loc[0.2:].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)  # with more points
    assert (carrier.loc[0.0] == 0).all()
    total = records[records.alpha > 0].pivot(index=["alpha", "points"], columns="chi", values="total_change")
    assert (total.diff(axis=1).iloc[:, 1:] < 0).all(axis=None)  # with chaining
    full = records[records.chi == 1]
    np.testing.assert_allclose(full.total_change, full.carrier_change, atol=1e-12)


def test_smoke_run_yields_what_it_says():
    experiment = Consolidation.profile("smoke", routes=5, points=(1, 50), alphas=(0.5,))
    history = collect(experiment, progress=False)
    assert len(history.records) == experiment.length() == 6
    assert history.records.equals(collect(experiment, progress=False).records)
    assert Consolidation.profile("gpu").routes == 6112


def test_a_folder_instead_of_synthetic_routes(tmp_path):
    """The challenge's JSON with one broken route: an error that names it, or one route less."""
    to_json(synthetic_almrrc(4, 0), tmp_path)
    options = {"points": (3,), "alphas": (0.5,), "chis": (0.0,), "draws": 1, "directory": str(tmp_path)}
    (whole,) = Consolidation(**options).run()
    assert (whole["cases"], whole["skipped"]) == (4, 0)
    file = next(tmp_path.rglob("route_data.json"))
    file.write_text(file.read_text().replace('"lat": 3', '"lat": 333', 1).replace('"lat": 4', '"lat": 444', 1))
    with pytest.raises(BrokenFile, match=r"route_data\.json: route RouteID_.*lat"):
        next(Consolidation(**options).run())
    (rest,) = Consolidation(**options, on_error="skip").run()
    assert rest["cases"] + rest["skipped"] == 4
    assert rest["skipped"] > 0


def test_the_table_of_a_folder_is_kept(tmp_path, monkeypatch):
    to_json(synthetic_almrrc(4, 0), tmp_path)
    experiment = Consolidation(directory=str(tmp_path), cache=str(tmp_path / "kept" / "routes.npz"))
    first = experiment.table()
    monkeypatch.setattr("entropy_utils.last_mile.almrrc._Reader", None)
    assert experiment.table().n.tolist() == first.n.tolist()


def test_bad_fields():
    for change, word in (({"alphas": [1.2]}, r"alphas\[0\]"), ({"points": [0]}, r"points\[0\]"), ({"trips": "x"}, "parcel")):
        with pytest.raises(ParameterError, match=word):
            Consolidation(**change)


def test_exponents_of_distance():
    """0.5 / 1.27 at fixed area and 1 / 1.27 at fixed density, less at the boundary: 0.37 and 0.76; a stem flattens both."""
    records = collect(Distances(tours=60), progress=False).records
    assert len(records) == 120

    def exponent(setting, stem):
        part = records[records.setting == setting]
        return fit_power_law(part.entropy, part.distance + 2 * stem, 10).exponent

    assert exponent("area", 0) == pytest.approx(0.37, abs=0.05)
    assert exponent("density", 0) == pytest.approx(0.76, abs=0.05)
    assert exponent("area", 10) < exponent("area", 0) - 0.05
    same = records[records.stops == 240].groupby("setting").local.max()
    assert same["density"] / same["area"] == pytest.approx(np.sqrt(240 / 148))
    with_stem = collect(Distances(tours=3, stem=5.0), progress=False).records
    np.testing.assert_allclose(with_stem.distance - with_stem.local, 10)
