"""The made-up tables have the columns that are used, and the summary that they were drawn from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from entropy_utils.cool_cores import core_plots
from entropy_utils.cool_cores.core_entropy import xray_entropy
from entropy_utils.cool_cores.gas_cells import central_entropy, entropy_profile
from entropy_utils.cool_cores.mixture import compare
from entropy_utils.cool_cores.profiles import fit_profile, profile
from entropy_utils.cool_cores.stand_ins import accept_stand_in, gas_stand_in, tng_stand_in
from entropy_utils.lab.errors import ParameterError


def test_cores():
    table = tng_stand_in(1, 5000)
    K0 = table.k0_kev_cm2
    np.testing.assert_allclose([np.log10(K0).mean(), np.log10(K0).std()], [1.97, 0.41], atol=0.03)
    np.testing.assert_allclose(xray_entropy(table.kT_kev, 10**table.log10_ne0_cm3), K0)
    assert abs(spearmanr(K0, table.log10_m500c_msun).statistic - 0.22) < 0.05
    assert abs(spearmanr(K0, table.z_form).statistic + 0.33) < 0.05
    assert spearmanr(K0, table.t_cool0_gyr).statistic > 0.95


def test_hills():
    assert compare(np.log10(accept_stand_in(0).k0_flat))[2] < -20
    one, two, difference = compare(np.log10(accept_stand_in(0, 5000).k0_flat))
    assert difference < 0 < one.bic < 1e5
    np.testing.assert_allclose(10**two.means, [15.3, 134], rtol=0.06)


def test_the_figures_take_them_and_seeds_differ():
    for draw, table in ((core_plots.catalogue, tng_stand_in()), (core_plots.state_plane, tng_stand_in())):
        draw(Figure(), table)
    core_plots.accept_profiles(Figure(), accept_stand_in())
    pd.testing.assert_frame_equal(tng_stand_in(3), tng_stand_in(3))
    assert not tng_stand_in(3).equals(tng_stand_in(4))


@pytest.mark.parametrize("z", [0.0, 1.0])
def test_cells_give_back_the_profile_they_were_drawn_from(z):
    box = 5000.0  # their centre is the corner: the periodic distance counts
    gas = gas_stand_in(20, 140, 1.2, 4.0, box, seed=1, z=z)
    r, K, sigma = entropy_profile(gas, [0, 0, 0], box, np.geomspace(6, 480, 25), z)
    assert np.all(np.abs(K - profile(r, 20, 140, 1.2)) < 5 * sigma + 0.01 * K)
    fit = fit_profile(r, K, sigma)
    assert (fit.K0, fit.K100, fit.alpha) == pytest.approx((20, 140, 1.2), rel=0.06)
    core = central_entropy(gas, [0, 0, 0], 1.0, box, z)
    assert core.K0 > 22  # the mean within 12 kpc holds some of the power law, too
    assert core.arithmetic_K > core.K0
    assert core.left_out > 0


def test_empty_shells():
    gas = gas_stand_in(20, 140, 1.2, 4.0, 5000.0, n=200)
    with pytest.raises(ParameterError, match="edges"):
        entropy_profile(gas, [2500, 2500, 2500], 5000.0, [10, 20])
