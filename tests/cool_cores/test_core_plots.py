"""The figures show the numbers they are given; the playgrounds move."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from entropy_utils.cool_cores import classes, core_plots, profile_playgrounds
from entropy_utils.cool_cores.mixture import compare
from entropy_utils.cool_cores.profiles import fit_profile, profile
from entropy_utils.lab.playground import Playground


@pytest.fixture
def fig() -> Figure:
    return Figure(figsize=(9, 4))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """120 cores with the columns of the catalogue; a cooling time that follows K alone."""
    rng = np.random.default_rng(0)
    K0 = 10 ** rng.normal(2.0, 0.4, 120)
    t_cool = 3.7 * (K0 / 100) ** 1.4
    named = {"k0_kev_cm2": K0, "t_cool0_gyr": t_cool, "kT_kev": np.full(120, 6.0), "log10_ne0_cm3": 1.5 * np.log10(6 / K0)}
    more = {"log10_m500c_msun": rng.uniform(13.95, 15.25, 120), "z_form": rng.uniform(0.1, 1, 120)}
    return pd.DataFrame(named | more | {"cc_class": classes.by_cooling_time(t_cool)})


@pytest.fixture(scope="module")
def accept() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    K0 = np.concatenate([10 ** rng.normal(1.2, 0.2, 40), 10 ** rng.normal(2.1, 0.3, 60)])
    named = {
        "r_max_mpc": np.full(100, 0.3),
        "k0_flat": K0,
        "k100_flat": np.full(100, 130.0),
        "alpha_flat": np.full(100, 1.2),
    }
    return pd.DataFrame(named | {"k0_extr": 0.8 * K0})


def title(ax) -> str:
    return ax.get_title() + ax.get_title(loc="left")


def test_lines_of_the_state_plane_are_its_limits(fig, table):
    core_plots.state_plane(fig, table)
    (ax,) = fig.axes
    lines = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert sum(len(lines[name]) for name in classes.CLASSES) == 120
    n_e, kT = lines["K = 22 keV cm²"].T
    np.testing.assert_allclose(kT * n_e ** (-2 / 3), 22)
    n_e, kT = lines["t_cool = 7.7 Gyr"].T
    np.testing.assert_allclose(core_plots.cooling.cooling_time(kT * n_e ** (-2 / 3), kT), 7.7)


def test_laws(fig):
    core_plots.cooling_and_feeding(fig)
    for line in fig.axes[2].lines:
        slope = np.polyfit(*np.log(line.get_xydata()).T, 1)[0]
        assert slope == pytest.approx(-1.5)


def test_profiles_of_accept_and_one_fit(fig, accept):
    core_plots.accept_profiles(fig, accept)
    assert f"medians of {(accept.k0_flat <= 50).sum()}" in fig.axes[0].get_legend().get_texts()[0].get_text()
    r = np.geomspace(8, 900, 20)
    K = profile(r, 20, 140, 1.2)
    other = Figure()
    core_plots.fitted_profile(other, r, K, 0.1 * K, fit_profile(r, K, 0.1 * K))
    assert title(other.axes[0]).startswith("K0 = 20.0 ±")
    assert "α = 1.20" in title(other.axes[0])


def test_catalogue_bars_are_shares(fig, table):
    core_plots.catalogue(fig, table)
    bars = [patch.get_height() for patch in fig.axes[1].patches]
    assert sum(bars) == pytest.approx(4)  # four mass bins
    first = table[table.log10_m500c_msun < 14.3]
    assert bars[0] == pytest.approx((first.cc_class == 0).mean())


def test_mixtures_name_the_difference(fig, accept, table):
    core_plots.mixtures(fig, {"two": accept.k0_flat, "one": table.k0_kev_cm2})
    for ax, name, K0 in zip(fig.axes, ("two", "one"), (accept.k0_flat, table.k0_kev_cm2), strict=True):
        difference = compare(np.log10(K0))[2]
        sign = "−" if difference < 0 else "+"
        assert title(ax) == f"{name} ({len(K0)}): ΔBIC = {sign}{abs(difference):.1f}"


def test_merger_rates_fall_with_time(fig):
    core_plots.merger_rates(fig)
    for line in fig.axes[0].lines:
        assert (np.diff(line.get_ydata()) < 0).all()


def test_a_cool_core_appears_as_k0_falls():
    play = Playground(
        profile_playgrounds.cool_core, K0=(1, 300, 1), K100=(50, 300, 10), alpha=(0.5, 2.0, 0.1), kT=(1, 12, 1)
    )
    found = []
    for K0 in (10, 100, 300):
        play.set(K0=K0, K100=140, kT=4)
        fig = Figure()
        profile_playgrounds.cool_core(fig, **play.values)
        found.append([title(fig.axes[0])[:3], title(fig.axes[2])])
    assert [name for name, _ in found] == ["SCC", "WCC", "NCC"]
    assert found[0][1].startswith("below 1 Gyr within")
    assert found[2][1] == "below 1 Gyr nowhere"


def test_class_limits_move_the_table(table):
    fig = Figure()
    profile_playgrounds.class_limits(fig, table, 22, 150, 1, 7.7)
    counted = [int(text.get_text()) for text in fig.axes[1].texts]
    expected = classes.cross_table(table.cc_class, classes.by_entropy(table.k0_kev_cm2)).to_numpy().ravel()
    assert counted == expected.tolist()
    moved = Figure()
    profile_playgrounds.class_limits(moved, table, 40, 150, 1, 7.7)
    assert int(moved.axes[1].texts[0].get_text()) > counted[0]
