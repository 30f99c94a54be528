"""The urn: its closed forms against the exact chain and against many runs, and its way back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from entropy_utils import information
from entropy_utils.entropy_primer.mixing import Mixing
from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import collect


def records(**fields) -> pd.DataFrame:
    return collect(Mixing(**fields), progress=False).records


@pytest.mark.parametrize("cells", [2, 3, 7])
def test_the_closed_form_is_that_of_the_exact_chain(cells):
    urn = Mixing(balls=10, cells=cells)
    stay, leave = 1 - 1 / urn.balls, 1 / urn.balls / (cells - 1)
    chain = np.full((cells, cells), leave) + (stay - leave) * np.eye(cells)
    moves = [0, 1, 5, 40]
    exact = [np.linalg.matrix_power(chain, t)[0] for t in moves]
    np.testing.assert_allclose(urn.expected_first(moves), [p[0] for p in exact], rtol=1e-12)
    np.testing.assert_allclose(urn.expected_shannon(moves), information.shannon_entropy(exact), atol=1e-12)
    assert np.exp(-1 / (urn.relaxation_sweeps() * urn.balls)) == pytest.approx(np.sort(np.linalg.eigvalsh(chain))[-2])


def test_two_cells_are_the_urn_of_the_ehrenfests():
    assert Mixing(balls=100, cells=2).expected_first(7) == pytest.approx(0.5 + 0.5 * (1 - 2 / 100) ** 7)


@pytest.mark.parametrize("cells", [2, 5])
def test_runs_follow_the_closed_form_in_the_mean(cells):
    seen = records(balls=60, cells=cells, sweeps=3, records_per_sweep=4, replicas=400)
    by_time = seen.assign(share=1 - seen.away / 60).groupby("sweep")
    off = by_time.share.mean() - by_time.expected_first.first()
    error = by_time.share.std() / 20
    assert (off[1:].abs() < 4.5 * error[1:]).all()
    assert off[0] == 0


def test_equilibrium_fluctuates_like_independent_draws():
    seen = records(balls=500, cells=8, sweeps=60, records_per_sweep=1, replicas=20)
    settled = seen[seen.sweep > 10]
    assert settled.fluctuation.mean() == pytest.approx(1, abs=0.05)
    assert settled.shannon.mean() == pytest.approx(np.log(8) - 7 / 1000, abs=5e-4)


def test_a_record_is_what_a_look_at_the_cells_gives():
    urn = Mixing(balls=12, cells=4, replicas=2)
    cell = np.array([[0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]])
    crowded, even = urn.look(0, cell)
    assert crowded["ln_w"] == pytest.approx(information.log_multiplicity([9, 2, 1, 0]) / 12)
    assert crowded["shannon"] == pytest.approx(information.plug_in_entropy([9, 2, 1, 0]))
    assert crowded["stirling"] == pytest.approx(crowded["shannon"] - crowded["ln_w"])
    assert (crowded["away"], even["away"]) == (3, 9)
    assert crowded["fluctuation"] == pytest.approx(np.var([9, 2, 1, 0]) / (12 / 4 * 3 / 4))
    assert even["fluctuation"] == 0


@pytest.mark.parametrize("fields", [{"cells": 2}, {"cells": 5, "balls": 37, "records_per_sweep": 7}])
def test_undone_moves_bring_every_ball_home(fields):
    seen = records(**{"balls": 50, "sweeps": 7, "turn_back_after": 3, "replicas": 3, **fields}).set_index("sweep")
    per_sweep = fields.get("records_per_sweep", 10)
    times = sorted(set(seen.index))
    turn, home, last = (seen.loc[times[step * per_sweep]] for step in (3, 6, 7))
    assert (turn.away > 0).all()
    assert (home.away == 0).all()
    assert (home.ln_w == 0).all()
    assert (last.away > 0).all()  # and beyond home entropy rises again
    there, back = (seen[seen.seed == 0].ln_w.to_numpy()[: 6 * per_sweep + 1][::order] for order in (1, -1))
    np.testing.assert_array_equal(there, back)


def test_a_seed_runs_alone_as_it_runs_in_company():
    fields = {"balls": 30, "cells": 3, "sweeps": 4}
    company = records(seed=3, replicas=4, **fields)
    alone = records(seed=5, replicas=1, **fields)
    np.testing.assert_array_equal(company[company.seed == 5].to_numpy(), alone.to_numpy())
    assert not company[company.seed == 3].away.equals(alone.away)


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    records(balls=10, sweeps=1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("name", ["smoke", "laptop", "gpu"])
def test_profiles_tell_their_length(name):
    urn = Mixing.profile(name, balls=20, cells=2, sweeps=3, replicas=2)
    assert len(list(urn.run())) == urn.length()


def test_the_fit_finds_the_time_of_a_curve_without_noise():
    urn = Mixing(balls=20_000, cells=16)
    sweep = np.arange(21) / 10
    away = urn.balls * (1 - urn.expected_first(sweep * urn.balls))
    curve = pd.DataFrame({"seed": 4, "sweep": sweep, "away": away})
    assert urn.fitted_relaxation(curve)[4] == pytest.approx(urn.relaxation_sweeps())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"balls": 9}, "'balls'"),
        ({"cells": 1}, "'cells'"),
        ({"sweeps": 3, "turn_back_after": 4}, "turn_back_after 4"),
        ({"balls": 10_000_000, "replicas": 11}, "balls times replicas"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(fields, named):
    with pytest.raises(ParameterError, match=named) as caught:
        Mixing(**fields)
    assert "\n" not in str(caught.value)
