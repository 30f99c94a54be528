"""The tables of the real sample: their traps, the numbers of an earlier study, and damaged files."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln
from scipy.stats import linregress

from entropy_utils.lab.errors import BrokenFile, ParameterError
from entropy_utils.last_mile.almrrc import load_almrrc
from entropy_utils.last_mile.real_samples import austin_legs, geometric_entropy, los_angeles_routes
from entropy_utils.last_mile.structural_entropy import boltzmann_entropy, route_entropies


@pytest.fixture(scope="module")
def los_angeles(sample) -> pd.DataFrame:
    """The routes with driving km, and their entropies."""
    table = los_angeles_routes(sample).dropna(subset="drive_km")
    S = geometric_entropy(table.n_packages, table.n_dropoffs)
    return table.assign(S=S, eta=S / gammaln(table.n_packages + 1), orders=gammaln(table.n_dropoffs + 1))


@pytest.fixture(scope="module")
def austin(sample) -> pd.DataFrame:
    return austin_legs(sample)


@pytest.fixture
def copy(sample, tmp_path):
    shutil.copytree(sample / "derived", tmp_path / "derived")
    for path in (tmp_path / "derived", *(tmp_path / "derived").iterdir()):
        path.chmod(0o755)
    return tmp_path


# Los Angeles


def test_los_angeles_entropies(sample, los_angeles):
    assert len(los_angeles_routes(sample)) == 2876
    assert len(los_angeles) == 2874
    assert los_angeles.S.mean() == pytest.approx(982, abs=0.5)
    assert los_angeles.eta.mean() == pytest.approx(0.913, abs=5e-4)
    assert los_angeles.eta.quantile([0.1, 0.5, 0.9]).tolist() == pytest.approx([0.868, 0.924, 0.946], abs=5e-4)
    assert los_angeles.orders.mean() == pytest.approx(570, abs=0.5)
    assert gammaln(los_angeles.n_packages + 1).mean() == pytest.approx(1075, abs=0.5)


@pytest.mark.parametrize(
    ("of", "exponent", "r_squared"),
    [("S", 0.04, 0.0004), ("orders", 0.43, 0.166), ("n_dropoffs", 0.54, 0.166), ("eta", 4.36, 0.289)],
)
def test_los_angeles_distances(los_angeles, of, exponent, r_squared):
    fit = linregress(np.log(los_angeles[of]), np.log(los_angeles.drive_km))
    assert fit.slope == pytest.approx(exponent, abs=0.01)
    assert fit.rvalue**2 == pytest.approx(r_squared, abs=0.005)


def test_los_angeles_deciles_and_lengths(los_angeles):
    decile = pd.qcut(los_angeles.eta, 10, labels=False)
    means = los_angeles.groupby(decile)[["eta", "drive_km"]].mean()
    fit = linregress(np.log(means.eta), np.log(means.drive_km))
    assert fit.slope == pytest.approx(4.6, abs=0.05)
    assert fit.rvalue**2 == pytest.approx(0.985, abs=5e-4)
    assert los_angeles.drive_km.mean() == pytest.approx(84.1, abs=0.06)
    assert los_angeles.euclid_km.mean() == pytest.approx(58.9, abs=0.06)


# Austin


def test_austin_has_all_stops_those_called_NA_too(austin):
    assert len(austin) == 31_274
    assert austin.route_id.nunique() == 214
    assert austin.stop.notna().all()
    assert (austin.stop == "NA").sum() == 41
    assert (austin.groupby("route").type.agg(lambda kind: (kind == "Station").sum()) == 1).all()
    assert austin.zone_id[austin.type == "Station"].isna().all()
    assert austin.drive_km_to_next.between(0, 100).all()


def test_austin_zones_are_driven_one_after_the_other(austin):
    zoned = austin.dropna(subset="zone_id")
    assert zoned.zone_id.str.fullmatch(r"[A-Z]-\d{1,2}\.[123][ABCDEGHJ]").all()
    zones = zoned.groupby("route").zone_id
    assert zones.nunique().mean() == pytest.approx(27.5, abs=0.06)
    assert zones.agg(lambda zone: zone.ne(zone.shift()).sum()).mean() == pytest.approx(29.0, abs=0.06)


# An entropy from two numbers


def test_geometric_entropy_is_the_mean_over_drawn_routes():
    rng = np.random.default_rng(0)
    n = rng.geometric(100 / 160, (4000, 100))
    lost = gammaln(161) - geometric_entropy(160, 100)
    assert lost == pytest.approx(gammaln(n + 1).sum(1).mean(), rel=0.005)


def test_geometric_entropy_on_the_13_real_routes(sample):
    found = route_entropies(load_almrrc(sample, "apply"))
    error = geometric_entropy(found.N, found.M) / found.S - 1
    assert error.mean() == pytest.approx(0.002, abs=5e-4)
    assert error.std() == pytest.approx(0.003, abs=5e-4)


def test_geometric_entropy_at_the_ends():
    assert geometric_entropy(5, 5) == pytest.approx(boltzmann_entropy([1] * 5))
    assert geometric_entropy([4, 6], 2).shape == (2,)
    for N, M in ((3, 4), (3, 0)):
        with pytest.raises(ParameterError, match="'N': got 3"):
            geometric_entropy(N, M)


# Damaged files


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("los_angeles_routes", "n_packages", "packages", "n_packages"),
        ("los_angeles_routes", ",123,215,", ",123,x,", "x"),
        ("los_angeles_routes", ",123,215,", ",123,21,", "route RouteID_087e7f16-.*'n_packages': got 21, allowed"),
        ("austin_legs", "zone_id", "zone", "zone_id"),
        ("austin_legs", "0,1,NE", "0,2,NE", "line 3, route 0, field 'pos': got 2, allowed: the driven order"),
        ("austin_legs", "0,0,UB,Station", "0,0,UB,Dropoff", "line 2, route 0, field 'pos': got 0, allowed"),
        ("austin_legs", "30.364606", "130.364606", "line 3, route 0, field 'lat': got 130.364606, allowed"),
        ("austin_legs", ",0.712,", ",-0.712,", "line 3, route 0, field 'drive_km_to_next': got -0.712, allowed: finite"),
        ("austin_legs", ",0.712,", ",,", "line 3, route 0, field 'drive_km_to_next': got nan"),
        ("austin_legs", "NE,Dropoff", "NE,Depot", "line 3, route 0, field 'type': got 'Depot'"),
        ("austin_routes", "0,Route", "x,Route", "x"),
        ("austin_routes", "1,Route", "0,Route", "line 3, route 0, field 'route': got 0"),
        ("los_angeles_routes", ",34.0418,", ",134.0418,", "line 2, .*'centroid_lat': got 134.0418, allowed: degrees"),
        ("los_angeles_routes", ",37.2653,", ",,", "line 2, .*'euclid_km': got nan, allowed: finite and above 0"),
        ("los_angeles_routes", ",54.72", ",-54.72", "line 2, .*'drive_km': got -54.72"),
    ],
)
def test_a_damaged_table_is_named(copy, name, old, new, message):
    path = copy / "derived" / f"{name}.csv"
    before = path.read_text()
    path.write_text(before.replace(old, new, 1))
    assert path.read_text() != before
    read = los_angeles_routes if name.startswith("los") else austin_legs
    with pytest.raises(BrokenFile, match=rf"^{name}\.csv: .*{message}"):
        read(copy)


@pytest.mark.parametrize("name", ["los_angeles_routes", "austin_legs", "austin_routes"])
def test_a_table_cut_between_lines_is_refused(copy, name):
    path = copy / "derived" / f"{name}.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))
    read = los_angeles_routes if name.startswith("los") else austin_legs
    with pytest.raises(BrokenFile, match=rf"^{name}\.csv: got \d+ lines.*allowed: {len(lines) - 1}"):
        read(copy)


def test_an_absent_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="los_angeles_routes"):
        los_angeles_routes(tmp_path)
