"""Histories: what is refused, what is left out and counted, what only warns, and parts of a sample."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from entropy_utils.cool_cores.histories import Histories
from entropy_utils.lab.errors import ParameterError


def fields(**changes) -> dict:
    """Three clusters at eleven snapshots, two mergers."""
    t = np.linspace(3, 8, 11)
    K0 = 50.0 + 10 * np.arange(3)[:, None] + np.zeros(11)
    mergers = pd.DataFrame({"cluster": [0, 2], "t": [2.5, 5.0], "xi": [0.3, 1.0]})
    whole = {"halo_id": [7, 8, 9], "t": t, "z": 12 / t - 1.2, "K0": K0, "mergers": mergers, "pulses": np.ones((3, 10))}
    return {**whole, **changes}


def with_K0(row: int, columns, value: float) -> np.ndarray:
    K0 = fields()["K0"].copy()
    K0[row, columns] = value
    return K0


def test_good_histories_are_taken_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        histories = Histories(**fields())
    assert len(histories) == 3
    assert not histories.skipped


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K0": with_K0(1, 3, np.nan)}, r"cluster 8: K0 = nan at snapshot number 3 \(t = 4.50 Gyr\).*missing"),
        ({"K0": with_K0(1, 3, -4.0)}, "cluster 8: K0 = -4 at snapshot number 3.*above 0"),
        ({"K0": with_K0(1, 3, np.inf)}, "cluster 8: K0 = inf"),
        ({"K0": with_K0(1, [3, 4, 5], np.nan), "allow_missing": True, "max_gap": 1.0}, "cluster 8.*gap.*2.00 Gyr"),
        ({"K0": with_K0(2, slice(1, None), np.nan), "allow_missing": True}, "cluster 9.*two values or more, there are 1"),
        ({"t_cool": with_K0(1, 4, -1.0)}, r"cluster 8: t_cool = -1 at snapshot number 4.*above 0 Gyr, or NaN"),
        ({"flags": with_K0(1, 4, 1) * 0 + 3}, "cluster 7: flags = 3 at snapshot number 0.*0, 1, 2 or NaN"),
        ({"K0": np.full((3, 11), "a")}, "'K0'.*real numbers"),
        ({"K0": np.ones((3, 10))}, r"field 'K0': got \(3, 10\).*\(3, 11\)"),
        ({"pulses": np.ones((3, 11))}, "pulses"),
        ({"t_cool": np.ones(3)}, "t_cool"),
        ({"halo_id": [7, 8, 7]}, "halo_id"),
        ({"t": fields()["t"][::-1]}, "'t'.*increasing.*not sorted at number 0"),
        ({"t": np.repeat(fields()["t"][:1], 11)}, "increasing"),
        ({"t": np.where(np.arange(11) == 4, np.nan, fields()["t"])}, "'t': got .*nan.*finite"),
        ({"z": fields()["z"][::-1]}, "'z'.*falling"),
        ({"t": np.append(fields()["t"][:10], 9.0)}, r"'t'.*no gap above max_gap = 0.5 Gyr"),
        ({"mergers": pd.DataFrame({"cluster": [3], "t": [1.0], "xi": [0.2]})}, "mergers.*cluster from 0 to 2"),
        ({"mergers": pd.DataFrame({"cluster": [0], "t": [1.0], "xi": [1.2]})}, "0 < xi <= 1"),
        ({"mergers": pd.DataFrame({"cluster": [0.5], "t": [1.0], "xi": [0.2]})}, "a whole number"),
        ({"mergers": pd.DataFrame({"cluster": [0], "t": [2500.0], "xi": [0.2]})}, "0 < t <= 20 Gyr"),  # in Myr
        ({"mergers": pd.DataFrame({"cluster": [0], "t": [0.0], "xi": [0.2]})}, "0 < t <= 20 Gyr"),
        ({"mergers": pd.DataFrame({"cluster": ["a"], "t": [1.0], "xi": [0.2]})}, "mergers.*a whole number"),
        ({"mergers": pd.DataFrame({"cluster": [0]})}, "columns cluster, t, xi"),
    ],
)
def test_bad_input_is_one_clear_line(changes, message):
    with pytest.raises(ParameterError, match=message) as error:
        Histories(**fields(**changes))
    assert "\n" not in str(error.value)


def test_bad_clusters_are_left_out_only_when_asked_and_are_counted():
    K0 = with_K0(1, 3, np.nan)
    with pytest.raises(ParameterError, match="cluster 8"):
        Histories.of(**fields(K0=K0))
    kept = Histories.of("skip", **fields(K0=K0))
    assert kept.halo_id.tolist() == [7, 9]
    assert list(kept.skipped) == [8]
    assert "snapshot number 3" in kept.skipped[8]
    np.testing.assert_array_equal(kept.K0[:, 0], [50, 70])
    assert kept.mergers.cluster.tolist() == [0, 1]  # rows of the clusters that are left
    assert not Histories.of("skip", **fields()).skipped
    with pytest.raises(ParameterError, match="no cluster is left: 3 are bad"):
        Histories.of("skip", **fields(K0=np.zeros((3, 11))))
    with pytest.raises(ParameterError, match="on_error"):
        Histories.of("ignore", **fields())
    with pytest.raises(ParameterError, match="increasing"):  # wrong for all: nothing to skip
        Histories.of("skip", **fields(t=fields()["t"][::-1]))


def test_bad_cooling_times_and_flags_leave_out_their_cluster_only():
    t_cool, flags = np.full((3, 11), 2.0), np.ones((3, 11), int)
    t_cool[0, 2], t_cool[2, 1], flags[1, 5] = 0.0, np.nan, -1
    kept = Histories.of("skip", **fields(t_cool=t_cool, flags=flags))
    assert kept.halo_id.tolist() == [9]
    assert list(kept.skipped) == [7, 8]
    np.testing.assert_array_equal(kept.t_cool, t_cool[2:])
    np.testing.assert_array_equal(kept.flags, flags[2:])


@pytest.mark.parametrize("K0", [None, np.full((3, 11), "a"), np.full((3, 11), None)])
def test_skipping_needs_numbers(K0):
    with pytest.raises(ParameterError, match="K0"):
        Histories.of("skip", **fields(K0=K0))


def test_whole_numbers_of_clusters_may_be_floats():
    mergers = pd.DataFrame({"cluster": [0.0, 2.0], "t": [2.5, 5.0], "xi": [0.3, 1.0]})
    part = Histories(**fields(mergers=mergers)).select([2])
    assert part.mergers.cluster.tolist() == [0]
    assert part.mergers.cluster.dtype == np.int64


def test_a_late_begin_and_an_early_end_are_no_gaps():
    K0 = with_K0(1, slice(0, 4), np.nan)
    K0[2, 7:] = np.nan
    assert len(Histories(**fields(K0=K0, allow_missing=True))) == 3


def test_missing_values_are_kept_when_allowed():
    histories = Histories(**fields(K0=with_K0(1, 3, np.nan), allow_missing=True, max_gap=1.0))
    assert np.isnan(histories.K0[1, 3])
    with pytest.raises(ParameterError, match="gap"):
        Histories(**fields(K0=with_K0(1, 3, np.nan), allow_missing=True, max_gap=0.9))


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("name", ["K0", "t_cool", "t"])
def test_units_off_by_a_thousand_warn(name, factor):
    with_time = fields(t_cool=np.full((3, 11), 2.0))
    if name == "t":
        with_time["max_gap"] = max(0.5, 0.5 * factor)
    with pytest.warns(UserWarning, match=f"{name}: typical value .*wrong units"):
        Histories(**{**with_time, name: with_time[name] * factor})


def test_masses_in_other_units_warn():
    with pytest.warns(UserWarning, match="m500c: typical value 14.5, expected 1e.12 to 1e.17 Msun"):
        Histories(**fields(m500c=[14.4, 14.5, 14.6]))


def test_parts_of_a_sample():
    whole = Histories(**fields(m500c=[1e14, 2e14, 3e14]))
    part = whole.select([2, 0])
    assert part.halo_id.tolist() == [9, 7]
    assert part.m500c.tolist() == [3e14, 1e14]
    assert part.mergers[["cluster", "xi"]].to_numpy().tolist() == [[1, 0.3], [0, 1.0]]
    late = whole.since(1.2)  # z <= 1.2 from t = 5 on
    assert late.t[0] == 5.0
    assert late.K0.shape == (3, 7)
    assert late.pulses.shape == (3, 6)
    assert len(late.mergers) == 2
    with pytest.raises(ParameterError, match="two snapshots"):
        whole.since(whole.z[-1])
