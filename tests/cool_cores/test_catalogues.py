"""Readers: what they return, bad rows named or skipped and counted, and the published numbers from the real tables."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from entropy_utils.cool_cores import classes, cooling, core_entropy, cosmology
from entropy_utils.cool_cores.catalogues import read_accept, read_snapshots, read_tng_catalogue, read_tng_text
from entropy_utils.cool_cores.mixture import compare
from entropy_utils.lab.errors import ParameterError

TNG_HEAD = (
    "halo_id,log10_m500c_msun,r500c_mpc,log10_m_smbh_msun,z_form,cc_flag,t_cool0_gyr,k0_kev_cm2,log10_ne0_cm3,ne_slope"
)
TNG_ROWS = [
    "5,14.5,1.0,10,0.5,CC,0.5,30.0,-1.0,1.5",
    "9,14.8,1.2,10,0.4,NCC,10,300,-2.0,0.2",
    "12,15,1.5,9,0.3,WCC,2,90,-1.5,1",
]
ACCEPT_HEAD = "cluster,n_bins,r_max_mpc,k0_flat,k0_flat_err,k100_flat,k100_flat_err,alpha_flat,alpha_flat_err,k0_extr"
TEXT_HEAD = """# A table, see the address
# [3] halos, all properties at [z=0].
# columns:
# [1] origID: original ID
# [2] haloID: ID (in the catalogue)
# [3] mhalo_500c: mass [log M]
# [4] r500c: radius [Mpc]
# [5] mass_smbh: mass [log M]
# [6] sfr: rate (nan indicates an upper limit) [log M / yr]
# [7] zform: redshift
# [8] coolcore_flag: status (0=CC, 1=WCC, or 2=NCC) {Source: someone}
# [9] coolcore_tcool: time [Gyr]
# [10] coolcore_entropy: entropy [keV cm$^2$]
# [11] coolcore_ne: density [log cm$^{-3}$]
# [12] coolcore_ne_slope: slope
#
"""
TEXT_ROWS = [
    "0  5 14.5 1.0 10  nan 0.5  CC  0.5 30.0 -1.0 1.5",
    "1  9 14.8 1.2 10  2.5 0.4 NCC 10.0  300 -2.0 0.2",
    "2 12 15.0 1.5  9 -1.0 0.3   1  2.0   90 -1.5 1.0",
]


@pytest.fixture
def write(tmp_path):
    def to(text: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text(text)
        return path

    return to


def tng(*rows: str) -> str:
    return "\n".join([TNG_HEAD, *rows]) + "\n"


def test_extract_and_text_table_give_the_same(write):
    extract = read_tng_catalogue(write(tng(*TNG_ROWS)))
    text = read_tng_text(write(TEXT_HEAD + "\n".join(TEXT_ROWS)))
    pd.testing.assert_frame_equal(text[extract.columns], extract, check_dtype=False)
    assert extract.cc_class.tolist() == [0, 2, 1]
    assert text.cc_flag.tolist() == ["CC", "NCC", "WCC"]
    np.testing.assert_allclose(extract.kT_kev, extract.k0_kev_cm2 * (10**extract.log10_ne0_cm3) ** (2 / 3))
    assert text.origID.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(text.sfr, [np.nan, 2.5, -1])


def test_columns_may_be_added_and_moved(write):
    moved = pd.DataFrame([row.split(",") for row in TNG_ROWS], columns=TNG_HEAD.split(",")).assign(new=1).iloc[:, ::-1]
    assert read_tng_catalogue(write(moved.to_csv(index=False))).k0_kev_cm2.tolist() == [30, 300, 90]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7,14.5,1.0,10,0.5,CC,0.5,-3,-1.0,1.5", "halo_id 7: k0_kev_cm2 = -3, allowed: a number above 0"),
        ("7,14.5,1.0,10,0.5,CC,x,30,-1.0,1.5", "halo_id 7: t_cool0_gyr = x"),
        ("7,14.5,1.0,10,0.5,CC,,30,-1.0,1.5", "halo_id 7: t_cool0_gyr = , allowed"),
        ("7,14.5,nan,10,0.5,CC,0.5,30,-1.0,1.5", "halo_id 7: r500c_mpc = nan"),
        ("7,14.5,1.0,10,-0.5,CC,0.5,30,-1.0,1.5", "halo_id 7: z_form = -0.5, allowed: a number from 0 on"),
        ("7,14.5,1.0,10,0.5,cool,0.5,30,-1.0,1.5", "halo_id 7: cc_flag = cool, allowed: CC, WCC, NCC"),
    ],
)
def test_a_bad_row_is_named_or_skipped_and_counted(write, row, message):
    path = write(tng(*TNG_ROWS, row))
    with pytest.raises(ParameterError, match=f"table.csv: {message}") as error:
        read_tng_catalogue(path)
    assert "\n" not in str(error.value)
    kept = read_tng_catalogue(path, on_error="skip")
    assert kept.halo_id.tolist() == [5, 9, 12]
    assert list(kept.attrs["skipped"]) == ["halo_id 7"]


def test_a_short_line_of_the_text_table(write):
    path = write(TEXT_HEAD + "\n".join([*TEXT_ROWS, "3 14 14.0"]))
    with pytest.raises(ParameterError, match="line 20: 3 values, allowed: 12"):
        read_tng_text(path)
    assert read_tng_text(path, on_error="skip").attrs["skipped"] == {"line 20": "3 values, allowed: 12"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV table"),
        (TNG_HEAD.replace("k0_kev_cm2", "K0") + "\n" + TNG_ROWS[0], "column k0_kev_cm2 missing"),
        (tng("7,14.5,1.0,10,0.5,CC,0.5,-3,-1.0,1.5"), "k0_kev_cm2"),
        (tng(TNG_ROWS[0], TNG_ROWS[0]), "halo_id 5 twice"),
        (tng(TNG_ROWS[0] + ",1,2,3", TNG_ROWS[1]), "table.csv"),
    ],
)
def test_broken_tables(write, text, message):
    with pytest.raises(ParameterError, match=message):
        read_tng_catalogue(write(text))


def test_all_rows_bad_and_wrong_option(write):
    with pytest.raises(ParameterError, match="no row is left, 1 of 1"):
        read_tng_catalogue(write(tng("7,14.5,1.0,10,0.5,CC,0.5,-3,-1.0,1.5")), on_error="skip")
    with pytest.raises(ParameterError, match="no row is left, 0 of 0"):
        read_tng_catalogue(write(tng()))
    with pytest.raises(ParameterError, match="no row is left, 3 of 3"):
        read_tng_catalogue(write(tng(*(row.replace("CC", "x") for row in TNG_ROWS))), on_error="skip")
    with pytest.raises(ParameterError, match="no row is left, 2 of 2"):
        read_tng_text(write(TEXT_HEAD + "3 14 14.0\n0 5 14.5 1.0 10 nan 0.5 CC -1 30.0 -1.0 1.5"), on_error="skip")
    with pytest.raises(ParameterError, match="on_error"):
        read_tng_catalogue(write(tng(*TNG_ROWS)), on_error="drop")


@pytest.mark.parametrize(("column", "name"), [(7, "K0"), (6, "t_cool"), (2, "r500c_mpc")])
def test_units_off_by_a_thousand_warn(write, column, name):
    table = [row.split(",") for row in TNG_ROWS]
    for row in table:
        row[column] = f"{1000 * float(row[column]):g}"
    with pytest.warns(UserWarning, match=f"{name}: typical value"):
        read_tng_catalogue(write(tng(*map(",".join, table))))


def test_densities_per_cubic_metre_warn(write):
    rows = [row.split(",") for row in TNG_ROWS]
    for row in rows:
        row[8] = f"{6 + float(row[8]):g}"
    with pytest.warns(UserWarning, match="kT_kev: typical value"):
        read_tng_catalogue(write(tng(*map(",".join, rows))))


def test_radii_of_accept_in_kpc_warn(write):
    with pytest.warns(UserWarning, match="r_max_mpc: typical value"):
        read_accept(write(f"{ACCEPT_HEAD}\nA_1,5,120,60,0.1,99.0,1,0.9,0.1,50"))


def test_accept_takes_zero_and_refuses_less(write):
    good = "NGC_507,17,0.1,0.0,0.1,99.0,1,0.9,0.1,0.0\nA_1,5,0.0,60,0.1,99.0,1,0.9,0.1,50"
    table = read_accept(write(f"{ACCEPT_HEAD}\n{good}"))
    assert table.k0_flat.tolist() == [0, 60]
    assert table.cluster.tolist() == ["NGC_507", "A_1"]
    with pytest.raises(ParameterError, match="cluster A_2: k0_flat = -1"):
        read_accept(write(f"{ACCEPT_HEAD}\n{good}\nA_2,17,0.1,-1,0.1,99.0,1,0.9,0.1,0.0"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("28,2.5,2.6\n27,2.4,2.7", "snap is not rising"),
        ("28,2.5,2.6\n29,2.6,2.7", "redshift"),
        ("28,2.5,2.6\n29,2.4,2.6", "age_gyr"),
    ],
)
def test_snapshots_out_of_order(write, rows, message):
    with pytest.raises(ParameterError, match=message):
        read_snapshots(write("snap,redshift,age_gyr\n" + rows))


# The real tables


@pytest.fixture(scope="module")
def samples() -> Path:
    if not os.environ.get("ENTROPY_DATA_DIR"):
        pytest.skip("ENTROPY_DATA_DIR is not set")
    return Path(os.environ["ENTROPY_DATA_DIR"]) / "clusters"


@pytest.fixture(scope="module")
def catalogue(samples) -> pd.DataFrame:
    return read_tng_catalogue(samples / "tng_cluster_z0_catalog_352.csv")


def test_published_class_counts(catalogue):
    assert classes.counts(catalogue.cc_class).tolist() == [85, 211, 56]
    rounded = classes.by_cooling_time(catalogue.t_cool0_gyr)
    assert classes.counts(rounded).tolist() == [84, 212, 56]  # one flagged CC has 1.00 Gyr after rounding
    np.testing.assert_allclose(classes.fractions(classes.by_entropy(catalogue.k0_kev_cm2)), [0.080, 0.585, 0.335], atol=6e-4)
    table = classes.cross_table(catalogue.cc_class, classes.by_entropy(catalogue.k0_kev_cm2))
    assert table.loc["SCC", "SCC"] == 28  # all with low entropy cool fast
    assert table["SCC"].sum() == 28


def test_entropies_of_the_catalogue(catalogue):
    K0 = catalogue.k0_kev_cm2
    assert (K0.min(), K0.max()) == (7.18, 631.57)
    np.testing.assert_allclose(np.quantile(K0, [0.05, 0.25, 0.5, 0.75, 0.95]), [18.7, 52.3, 98.9, 190.5, 383.4], atol=0.06)
    assert np.log10(K0).std(ddof=0) == pytest.approx(0.407, abs=6e-4)
    columns = {"t_cool0_gyr": 0.972, "log10_ne0_cm3": -0.885, "log10_m500c_msun": 0.243, "z_form": -0.335}
    for column, rho in (columns | {"log10_m_smbh_msun": -0.027}).items():
        assert spearmanr(K0, catalogue[column]).statistic == pytest.approx(rho, abs=1.1e-3)


def test_cooling_time_follows_entropy_and_temperature(catalogue):
    y = np.log10(catalogue.t_cool0_gyr)
    X = np.stack([np.ones(352), np.log10(catalogue.k0_kev_cm2), np.log10(catalogue.kT_kev)], axis=1)
    fit = np.linalg.lstsq(X, y, rcond=None)[0]
    np.testing.assert_allclose(fit, [-1.86, 1.40, -0.64], atol=6e-3)
    assert (y - X @ fit).std() == pytest.approx(0.062, abs=6e-4)


def test_cooling_functions_against_the_catalogue(catalogue):
    for rule, ratio, scatter in ((core_entropy.accept_cooling_time, 0.92, 0.087), (cooling.cooling_time, 1.144, 0.0755)):
        found = rule(catalogue.k0_kev_cm2, catalogue.kT_kev) / catalogue.t_cool0_gyr
        assert np.median(found) == pytest.approx(ratio, abs=4e-3)
        assert np.log10(found).std() == pytest.approx(scatter, abs=6e-4)


def test_classes_by_mass(catalogue):
    for low, high, number, scc, ncc, median in (
        (13.9, 14.3, 42, 14, 12, 78),
        (14.3, 14.6, 118, 27, 5, 88),
        (14.6, 14.9, 121, 25, 23, 138),
        (14.9, 15.3, 71, 24, 24, 136),
    ):
        part = catalogue[(catalogue.log10_m500c_msun >= low) & (catalogue.log10_m500c_msun < high)]
        shares = 100 * classes.fractions(part.cc_class)
        assert len(part) == number
        np.testing.assert_allclose(shares[[0, 2]], [scc, ncc], atol=0.51)
        assert part.k0_kev_cm2.median() == pytest.approx(median, abs=0.51)


def test_accept_is_two_hills_and_tng_cluster_one(samples, catalogue):
    K0 = read_accept(samples / "accept_entropy_fits_240.csv").k0_flat
    K0 = K0[K0 > 4]
    assert K0.size == 225
    one, two, difference = compare(np.log10(K0))
    assert (one.bic, two.bic) == pytest.approx((363.1, 306.0), abs=0.06)
    assert difference < -40
    np.testing.assert_allclose(10**two.means, [15.3, 134], rtol=0.03)
    one, two, difference = compare(np.log10(catalogue.k0_kev_cm2))
    assert (one.bic, two.bic) == pytest.approx((377.7, 378.4), abs=0.06)
    assert abs(difference) < 5


def test_snapshot_ages_are_those_of_the_cosmology(samples):
    table = read_snapshots(samples / "tng_snapshots_z_28_99.csv")
    assert table.snap.tolist() == list(range(28, 100))
    np.testing.assert_allclose(cosmology.age(table.redshift), table.age_gyr, atol=1e-4)
