"""The merger test finds a planted link, invents none, and counts what it says; AGN activity in windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from entropy_utils.cool_cores.agn import activity, activity_before
from entropy_utils.cool_cores.cosmology import redshift
from entropy_utils.cool_cores.histories import Histories
from entropy_utils.cool_cores.merger_control import Excess, _nearest, merger_control, recent_merger
from entropy_utils.lab.errors import ParameterError

T = np.linspace(2.5, 13.8, 73)
N = 300


def world(rng, falling: bool = False) -> Histories:
    """Clusters with mergers at random times; falling: most of them early."""
    t = 2.5 + 11.3 * rng.random(5 * N) ** (2.5 if falling else 1.0)
    mergers = pd.DataFrame({"cluster": rng.integers(0, N, 5 * N), "t": t, "xi": 10 ** rng.uniform(-2, 0, 5 * N)})
    mass = 10 ** rng.uniform(14, 15.3, N)
    return Histories(
        halo_id=np.arange(N) + 7, t=T, z=redshift(T), K0=np.full((N, len(T)), 50.0), mergers=mergers, m500c=mass
    )


def events(cluster, t, direction="up") -> pd.DataFrame:
    t = np.asarray(t, float)
    return pd.DataFrame({"cluster": cluster, "direction": direction, "t_start": t - 0.8, "t_peak": t, "t_end": t + 0.5})


def test_windows_against_a_loop():
    rng = np.random.default_rng(0)
    histories = world(rng)
    cluster, t = rng.integers(0, N, 500), rng.uniform(2.5, 13.8, 500)
    t[:20] = histories.mergers.t[:20]  # a merger at that moment counts ...
    cluster[:20] = histories.mergers.cluster[:20]
    t[20:40], cluster[20:40] = histories.mergers.t[20:40] + 1.0, histories.mergers.cluster[20:40]  # ... one a window ago not
    found = recent_merger(histories, cluster, t, window=1.0, xi_min=0.05)
    for i, (c, now) in enumerate(zip(cluster, t, strict=True)):
        own = histories.mergers[(histories.mergers.cluster == c) & (histories.mergers.xi >= 0.05)].t
        if not 20 <= i < 40:  # t + 1 - 1 is not always t
            assert found[i] == ((own > now - 1.0) & (own <= now)).any()
    assert found[:20][histories.mergers.xi[:20] >= 0.05].all()
    np.testing.assert_array_equal(recent_merger(histories, cluster[None], np.stack([t, t + 1]), 1.0, 0.05)[0], found)


def test_a_planted_link_is_found_and_only_in_its_direction():
    rng = np.random.default_rng(1)
    histories = world(rng)
    causes = histories.mergers[(histories.mergers.xi > 0.1) & (histories.mergers.t < 13)].iloc[:300]
    linked = rng.random(300) < 0.5
    cluster = np.where(linked, causes.cluster, rng.integers(0, N, 300))
    up = events(cluster, causes.t + 0.5)
    down = events(rng.integers(0, N, 100), rng.uniform(4, 13, 100), "down")
    found = merger_control(pd.concat([up, down]), histories)
    assert found["up"].z > 8
    assert found["up"].p == pytest.approx(1 / 301)
    assert found["up"].events == 300
    assert abs(found["down"].z) < 3
    assert found["down"].p > 0.001


def test_no_link_no_excess():
    """z of many unlinked samples is standard normal, and p uniform, though mergers get rarer with time, as events do."""
    rng, z, p = np.random.default_rng(2), [], []
    for seed in range(40):
        histories = world(rng, falling=True)
        t = 3.5 + 10 * rng.random(200) ** 2.5
        found = merger_control(events(rng.integers(0, N, 200), t), histories, draws=150, seed=seed)["up"]
        z.append(found.z)
        p.append(found.p)
    assert abs(np.mean(z)) < 0.5
    assert 0.75 < np.std(z) < 1.3
    assert 0.3 < np.mean(p) < 0.7


def test_random_times_are_a_wrong_control():
    rng = np.random.default_rng(3)
    histories = world(rng, falling=True)
    early = events(rng.integers(0, N, 800), 3.5 + 10 * rng.random(800) ** 2.5)
    assert abs(merger_control(early, histories)["up"].z) < 3
    assert merger_control(early, histories, control="times")["up"].z > 4


def test_control_is_the_share_of_all_clusters():
    rng = np.random.default_rng(4)
    histories = world(rng)
    some = events(rng.integers(0, N, 200), rng.uniform(4, 13, 200))
    found = merger_control(some, histories, xi_min=0.05, window=2.0, draws=2000)["up"]
    shares = recent_merger(histories, np.arange(N)[:, None], some.t_peak.to_numpy(), 2.0, 0.05).mean(0)
    assert found.expected == pytest.approx(shares.mean(), abs=0.003)
    assert found.sd == pytest.approx(np.sqrt((shares * (1 - shares)).sum()) / 200, rel=0.06)
    assert found.observed == recent_merger(histories, some.cluster.to_numpy(), some.t_peak.to_numpy(), 2.0, 0.05).mean()
    assert found.controls.shape == (2000,)


def test_matched_controls_have_like_masses():
    """Only massive clusters merge, and only they have events: that is an excess among all, none among clusters alike."""
    rng = np.random.default_rng(5)
    histories = world(rng)
    massive = histories.m500c > np.median(histories.m500c)
    mergers = histories.mergers.assign(cluster=rng.choice(np.flatnonzero(massive), len(histories.mergers)))
    histories = replace(histories, mergers=mergers)
    some = events(rng.choice(np.flatnonzero(massive), 250), rng.uniform(4, 13, 250))
    assert merger_control(some, histories)["up"].z > 5
    assert abs(merger_control(some, histories, control="matched")["up"].z) < 3
    with pytest.raises(ParameterError, match="m500c"):
        merger_control(some, replace(histories, m500c=None), control="matched")


@pytest.mark.parametrize("n", [2, 30, 51, 300])
def test_nearest_clusters(n):
    histories = world(np.random.default_rng(n)).select(np.arange(n))
    found, mass = _nearest(histories), np.log(histories.m500c)
    assert found.shape == (n, min(50, n - 1))
    for i in range(n):
        distance = np.abs(mass - mass[i])
        assert i not in found[i]
        assert len(set(found[i])) == found.shape[1]
        np.testing.assert_array_equal(np.sort(distance[found[i]]), np.sort(np.delete(distance, i))[: found.shape[1]])


def test_a_late_reference_time_is_used():
    rng = np.random.default_rng(6)
    histories = world(rng)
    causes = histories.mergers[(histories.mergers.xi > 0.1) & (histories.mergers.t < 13)].iloc[:200]
    after = events(causes.cluster.to_numpy(), causes.t.to_numpy() + 0.3)
    peak, start = (merger_control(after, histories, reference=name)["up"].z for name in ("t_peak", "t_start"))
    assert peak > 10
    assert start < 4


def test_numbers_of_an_outcome():
    one = Excess(478, 0.55, np.array([0.40 - np.sqrt(0.24 / 478), 0.40 + np.sqrt(0.24 / 478)]))
    assert one.z == pytest.approx(6.7, abs=0.05)  # exercise 4 of the brief
    assert one.p == pytest.approx(1 / 3)
    assert np.isnan(Excess(9, 0.5, np.array([0.5, 0.5])).z)


def test_few_events_are_left_out_and_wrong_input_is_one_line():
    histories = world(np.random.default_rng(7))
    four = events([0, 1, 2, 3], [5.0, 6.0, 7.0, 8.0])
    assert merger_control(four, histories) == {}
    for field, value in (("reference", "t"), ("control", "all"), ("xi_min", 2.0), ("window", 0.0), ("draws", 1)):
        with pytest.raises(ParameterError, match=field):
            merger_control(four, histories, **{field: value})


# AGN activity


def busy(pulses) -> Histories:
    n = len(pulses)
    return Histories(
        halo_id=np.arange(n), t=T, z=redshift(T), K0=np.full((n, len(T)), 50.0), pulses=np.asarray(pulses, float)
    )


def test_a_constant_rate_is_that_rate():
    histories = busy(np.outer([3.0, 20.0], np.diff(T)))
    t = np.array([[3.0], [8.1], [13.8]])
    np.testing.assert_allclose(activity(histories, [0, 1], t), [[3, 20]] * 3)


def test_activity_integrates_the_intervals():
    rng = np.random.default_rng(0)
    histories = busy(rng.poisson(5, (4, len(T) - 1)))
    fine = np.linspace(T[0], T[-1], 400_001)
    middle = (fine[1:] + fine[:-1]) / 2
    rate = (histories.pulses / np.diff(T))[2, np.searchsorted(T, middle) - 1]
    for t, window in ((7.3, 1.0), (10.0, 0.05), (3.0, 1.0), (13.8, 3.0)):
        inside = (middle > t - window) & (middle <= t)
        assert activity(histories, 2, t, window) == pytest.approx(rate[inside].mean(), rel=1e-3)


def test_unknown_intervals_do_not_count():
    pulses = np.outer([4.0], np.diff(T))
    pulses[0, 10:14] = np.nan
    histories = busy(pulses)
    assert activity(histories, 0, T[16]) == pytest.approx(4)
    assert np.isnan(activity(histories, 0, T[13], window=0.1))
    assert activity(histories, 0, 13.0) == pytest.approx(4)
    assert np.isnan(activity(histories, 0, 1.0))


def test_activity_before_events_of_each_kind():
    pulses = np.outer(np.repeat([40.0, 2.0, 10.0], [20, 20, 400]), np.diff(T))
    some = pd.concat([events(np.arange(20), np.full(20, 8.0)), events(np.arange(20, 40), np.full(20, 9.0), "down")])
    table = activity_before(some, busy(pulses))
    medians = table.groupby("kind").rate.median()
    assert medians["up"] == pytest.approx(40)
    assert medians["down"] == pytest.approx(2)
    assert medians["control"] == pytest.approx(10)
    assert table.kind.value_counts().to_dict() == {"up": 20, "down": 20, "control": 20}


def test_wrong_windows_are_one_line():
    with pytest.raises(ParameterError, match="window"):
        activity(busy(np.ones((1, len(T) - 1))), 0, 5.0, 0.0)
    with pytest.raises(ParameterError, match="pulses"):
        activity(world(np.random.default_rng(0)), 0, 5.0)
