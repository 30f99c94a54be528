"""Gas cells: the brief's test values, SI constants, the cuts of the core, averages, and units that look wrong."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest
from scipy import constants

from entropy_utils.cool_cores.core_entropy import entropy_change
from entropy_utils.cool_cores.gas_cells import central_entropy, gas_state, radii
from entropy_utils.lab.errors import ParameterError

BOX, R500C = 680_000.0, 1.5  # ckpc/h, Mpc: an aperture of 18 kpc
GAS = {"InternalEnergy": [1e6], "ElectronAbundance": [1.158], "Density": [1e-5]}


def core_gas(**changes) -> dict[str, np.ndarray]:
    """Six cells around (1, 1, 1) ckpc/h: three good ones, one forming stars, one cold, one too far away."""
    ones = np.ones(6)
    gas = {
        "Coordinates": np.array([[1, 1, 1], [5, 1, 1], [1, BOX - 5, 1], [2, 1, 1], [3, 1, 1], [14, 1, 1]], float),
        "InternalEnergy": np.array([1e6, 2e6, 4e6, 1e6, 1e4, 1e6]),
        "ElectronAbundance": 1.158 * ones,
        "Density": np.array([1e-4, 1e-4, 2e-4, 1e-4, 1e-4, 1e-4]),
        "Masses": np.array([1.0, 2, 3, 100, 100, 100]),
        "StarFormationRate": np.array([0, 0, 0, 0.5, 0, 0]),
        "GFM_CoolingRate": np.array([-1e-23, -1e-23, 1e-24, -1e-23, -1e-23, -1e-23]),
    }
    return gas | changes


def test_values_of_the_brief():
    now = gas_state(GAS)
    assert now.mu[0] == pytest.approx(0.5882, abs=5e-5)
    assert now.T[0] == pytest.approx(4.7507e7, rel=2e-4)
    assert now.kT[0] == pytest.approx(4.0938, rel=2e-4)
    assert now.n_e[0] == pytest.approx(1.635e-3, rel=4e-4)  # the brief's 1.630e-3 fits neither its K nor its n_e at z = 1
    assert now.K[0] == pytest.approx(295.0, rel=4e-4)
    then = gas_state(GAS, z=1.0)
    assert then.n_e[0] == pytest.approx(1.308e-2, rel=4e-4)
    assert then.K[0] == pytest.approx(now.K[0] / 4, rel=1e-12)
    assert np.isnan(now.t_cool[0])


def test_against_si_constants():
    """Pressure (2/3) rho u and the loss of internal energy, per m³."""
    gas = {name: field[:1] for name, field in core_gas().items()}
    rho = 1e-4 * 1e10 * 1.989e30 / 0.6774 / (3.085678e19 / 2 / 0.6774) ** 3  # kg / m³ at z = 1
    state = gas_state(gas, z=1.0)
    protons = rho / constants.m_p
    electrons = 0.76 * 1.158 * protons
    particles = electrons + (0.76 + 0.06) * protons  # hydrogen and helium nuclei
    pressure = 2 / 3 * rho * 1e6 * 1e6
    assert state.kT[0] == pytest.approx(pressure / particles / (1e3 * constants.e), rel=1e-6)
    assert state.n_e[0] == pytest.approx(electrons / 1e6, rel=1e-6)
    loss = 1e-23 * 1e-7 * 1e-6 * (0.76 * protons) ** 2  # W / m³
    assert state.t_cool[0] == pytest.approx(rho * 1e12 / loss / (1e9 * constants.Julian_year), rel=1e-6)


def test_against_the_other_entropy_of_tng_tools():
    """S = T / mu (rho / m_p)^(-2/3) in K cm² times 8.617e-8 mu (X x_e)^(-2/3); 5.52e-8 when mu = 0.588."""
    state = gas_state(GAS)
    rho_over_m = state.n_e / (0.76 * 1.158)
    S = state.T / state.mu * rho_over_m ** (-2 / 3)
    assert state.K[0] / S[0] == pytest.approx(5.52e-8, rel=1e-3)


def test_radii_are_periodic_and_physical():
    r = radii([[1, 1, 1], [BOX - 1, 1, 1], [BOX / 2 + 1, 1, 1]], [1, 1, 1], BOX, z=1.0)
    np.testing.assert_allclose(r, np.array([0, 2, BOX / 2]) / 2 / 0.6774)


def test_core():
    gas = core_gas()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        core = central_entropy(gas, [1, 1, 1], R500C, BOX)
    K = gas_state(gas).K[:3]
    mass = np.array([1, 2, 3])
    assert (core.cells, core.left_out) == (3, 2)
    assert pytest.approx(np.prod(K ** (mass / 6))) == core.K0
    assert core.arithmetic_K == pytest.approx((mass * K).sum() / 6)
    assert core.gas_mass == pytest.approx(6e10 / 0.6774)
    t_cool = gas_state(gas).t_cool[:2]
    assert core.t_cool == pytest.approx(t_cool[0] ** (1 / 3) * t_cool[1] ** (2 / 3))
    # ln K0 is a mean: the entropy of the whole relative to each cell sums to zero
    assert (mass * entropy_change(core.K0, K)).sum() == pytest.approx(0, abs=1e-10)


def test_aperture_and_temperature_are_parameters():
    wide = central_entropy(core_gas(), [1, 1, 1], R500C, BOX, aperture=0.02)
    assert wide.cells == 4
    assert central_entropy(core_gas(), [1, 1, 1], R500C, BOX, T_min=1e5).cells == 4
    assert central_entropy(core_gas(), [1, 1, 1], R500C, BOX, T_min=1e8).cells == 1


@pytest.mark.parametrize(
    ("name", "factor", "message"),
    [
        ("InternalEnergy", 1e3, "kT: typical value"),
        ("Density", 1e3, "n_e: typical value"),
        ("Density", 1e-3, "n_e: typical value"),
    ],
)
def test_units_off_by_a_thousand_warn(name, factor, message):
    with pytest.warns(UserWarning, match="wrong units") as told:
        central_entropy(core_gas(**{name: core_gas()[name] * factor}), [1, 1, 1], R500C, BOX)
    assert str(told[0].message).startswith(message)


def test_a_radius_in_kpc_warns():
    with pytest.warns(UserWarning, match="r500c: typical value 1.5e.03, expected"):
        central_entropy(core_gas(), [1, 1, 1], 1000 * R500C, BOX)


def test_energies_too_small_by_a_thousand_warn_before_they_fail():
    with pytest.warns(UserWarning, match="kT: typical value"), pytest.raises(ParameterError, match="T_min"):
        central_entropy(core_gas(InternalEnergy=core_gas()["InternalEnergy"] / 1e4), [1, 1, 1], R500C, BOX)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"InternalEnergy": np.array([1e6, np.nan, 1, 1, 1, 1])}, "InternalEnergy.*nan.*1 of 5"),
        ({"Density": np.array([1e-4, -1, 1, 1, 1, 1])}, "Density.*-1"),
        ({"StarFormationRate": np.ones(6)}, "T_min"),
        ({"Coordinates": np.full((6, 3), 3e5)}, "r500c"),
    ],
)
def test_bad_cells_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        central_entropy(core_gas(**changes), [1, 1, 1], R500C, BOX)


def test_what_readers_of_snapshots_return(tmp_path):
    """An open h5py group, or a dictionary with a count beside the fields."""
    core = central_entropy(core_gas(), [1, 1, 1], R500C, BOX)
    assert central_entropy({"count": 6, **core_gas()}, [1, 1, 1], R500C, BOX) == core
    with h5py.File(tmp_path / "snapshot.hdf5", "w") as file:
        for name, field in core_gas().items():
            file[f"PartType0/{name}"] = field
        assert central_entropy(file["PartType0"], [1, 1, 1], R500C, BOX) == core


def test_a_missing_field_is_named():
    gas = core_gas()
    del gas["Masses"]
    with pytest.raises(ParameterError, match="with Masses among them"):
        central_entropy(gas, [1, 1, 1], R500C, BOX)
