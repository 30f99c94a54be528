"""The four factors one by one, the weights during training, and the exercises of notebook 07."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from entropy_utils.lab.errors import ParameterError
from entropy_utils.policy_entropy import tabular
from entropy_utils.policy_entropy.four_factors import FACTORS, Draws, FourFactors, four_factors
from entropy_utils.policy_entropy.interventions import Steer, Tokens
from entropy_utils.policy_entropy.interventions.steer import concentration
from entropy_utils.policy_entropy.steer_exercises import EXERCISES
from entropy_utils.policy_entropy.steer_plots import with_outlier
from entropy_utils.policy_entropy.token_weights import METHODS, TokenWeights

SMALL = FourFactors(replicas=2, states=60, vocabulary=7, drift=0.4, lr=1e-4)


def test_all_four_factors_are_steers_theorem():
    draws = SMALL.draws(0)
    batch = [x[None] for x in (draws.logp, draws.old_logp, draws.advantages)]
    whole, entropy = torch.ones(1, 60, dtype=torch.bool), draws.entropy[None]
    tokens = Tokens(*batch, whole, entropy, entropy, old_entropy=entropy)
    assert (draws.unclipped == 0).any()
    torch.testing.assert_close(four_factors(draws), Steer(form="theorem").estimate(tokens)[0], rtol=1e-9, atol=1e-15)


def test_neutral_factors_are_the_same_for_all_tokens():
    one = dict.fromkeys(("logp", "old_logp"), torch.log(torch.tensor([0.2, 0.4, 0.1], dtype=torch.float64)))
    H, A = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    draws = Draws(**one, entropy=H, advantages=A, unclipped=torch.tensor([1.0, 0.0, 1.0]).double(), truth=H)
    p, mean = 0.2, math.log(0.2 * 0.4 * 0.1) / 3
    assert four_factors(draws, ["clipping"])[1].item() == pytest.approx(2 * 0.4 * 0.6 * (math.log(0.4) + 1.0))
    assert four_factors(draws, ["advantage"])[0].item() == pytest.approx(-p * (1 - p) * (math.log(p) + 0.5))
    assert four_factors(draws, ["entropy"])[2].item() == pytest.approx(-0.5 * 0.1 * 0.9 * (math.log(0.1) + 1.0))
    expected = -math.exp(mean) * (1 - math.exp(mean)) * (mean + 0.5)
    assert four_factors(draws, ["probability"])[0].item() == pytest.approx(expected)
    assert four_factors(draws, FACTORS).unique().numel() == 1
    with pytest.raises(ParameterError, match=r"field 'neutral': got .*allowed: clipping, advantage"):
        four_factors(draws, ["ratio"])


def test_the_truth_is_the_step_of_the_clipped_policy_gradient():
    """With lr to 0: the full step of notebook 06, and nothing where the clip takes the gradient away."""
    draws = FourFactors(states=200, vocabulary=9, drift=0.5, lr=1e-5).draws(3)
    assert (draws.truth[draws.unclipped == 0] == 0).all()
    ratio = (draws.logp - draws.old_logp).exp()
    clipped = torch.where(draws.advantages > 0, ratio > 1.28, ratio < 0.8)
    assert torch.equal(draws.unclipped == 0, clipped)
    assert (draws.truth[~clipped].abs() < 1e-4).all()
    assert (draws.truth[~clipped] != 0).all()


def test_records_of_the_factors():
    records = pd.DataFrame(SMALL.run())
    assert len(records) == SMALL.length() == 18
    assert set(records.seed) == {0, 1}
    best = records.set_index(["kept", "seed"]).pearson
    assert (best["all"] > 0.3).all()
    assert best["only clipping"].abs().max() < 0.5
    again = pd.DataFrame(SMALL.run())
    pd.testing.assert_frame_equal(records, again)


def test_without_drift_nothing_is_clipped():
    assert (FourFactors(states=100, vocabulary=5, drift=0.0).draws(0).unclipped == 1).all()


@pytest.mark.parametrize("wrong", [{"states": 2}, {"drift": -1.0}, {"lr": 0.0}, {"vocabulary": 1}])
def test_wrong_parameters_are_named(wrong):
    (name,) = wrong
    with pytest.raises(ParameterError, match=f"field '{name}'"):
        FourFactors(**wrong)


TINY = {"hidden": 16, "heads": 2, "layers": 1}


def test_weights_while_training():
    experiment = TokenWeights(task="digit_sum", replicas=2, rounds=2, rollouts=2, warm_up={**TINY, "steps": 100, "lr": 1e-2})
    records = pd.DataFrame(experiment.run())
    assert len(records) == experiment.length() == 2 * 2 * len(METHODS)
    assert sorted(records.step.unique()) == [0, 2]
    assert not records.isna().any().any()
    for name, method in METHODS.items():
        rows = records[records.method == name]
        assert rows["mean"].between(method.weakest, method.strongest).all()
        assert rows.pinned.between(0, 1).all()
        assert rows.probability.between(0, 1).all()
    alone = pd.DataFrame(experiment.replace(replicas=1, seed=1).run())
    merged = records[records.seed == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(merged, alone, check_exact=False, rtol=1e-4, atol=1e-5)


def test_a_rollout_without_any_mixed_prompt_has_no_weights():
    """A model that was hardly warmed up answers everything wrongly."""
    experiment = TokenWeights(replicas=1, rounds=1, warm_up={**TINY, "steps": 1})
    records = list(experiment.run())
    assert len(records) == len(METHODS)
    assert all(record["mean"] is None and record["pinned"] is None for record in records)
    assert all(record["entropy"] > 1 for record in records)


def test_the_outlier_of_the_picture():
    for rarity in (1.0, 6.0):
        tokens = with_outlier(rarity)
        assert tokens.logp[0, 0].item() == pytest.approx(-rarity * math.log(10))
        assert tokens.advantages[0, 0] == -1
    assert concentration(Steer(), with_outlier(8.0)).pinned > concentration(Steer(), with_outlier(1.0)).pinned


def delta(p):
    return p * (1 - p) ** 2 * np.log(p / (1 - p))


def missing(p, a):
    return p[a] ** 2 * (np.log(p[a]) - (p * np.log(p)).sum())


RIGHT = {
    "7.1": delta,
    "7.2": missing,
    "7.3": ((0.9956, 0.7), (0.9611, 0.7)),
    "7.4": (-0.3, 0.4, 0.4),
}
WRONG = {
    "7.1": [
        (lambda p: -delta(p), "size is right"),
        (lambda p: delta(p) / (1 - p), "1 - pi: include it"),
        (np.exp, "simplify"),
    ],
    "7.2": [
        (lambda p, a: p[a] * (1 - p[a]) * (np.log(p[a]) - (p * np.log(p)).sum()), "diagonal term"),
        (lambda p, a: p[a] * (np.log(p[a]) - (p * np.log(p)).sum()), "whole covariance"),
        (lambda p, a: 0.0, "E dz for b other than a"),
    ],
    "7.3": [(RIGHT["7.3"][::-1], "other way round"), ((1, 2), "Two pairs"), (((1, 1), (1, 1)), "raise 0.7")],
    "7.4": [((0.0, 0.4, 0.4), "Slow what lowers"), ((-0.3, 0, 0.4), "mask"), ((-0.3, 0.4, 0.7), "cancel"), ((1,), "Three")],
}


@pytest.mark.parametrize("id", EXERCISES)
def test_exercises_tell_right_from_wrong(id):
    assert EXERCISES[id].check(RIGHT[id]) is None
    for answer, hint in WRONG[id]:
        assert hint in EXERCISES[id].check(answer)


def test_the_numbers_in_the_solution_of_7_1():
    grid = np.linspace(1e-4, 1 - 1e-4, 20_001)
    values = delta(grid)
    assert (values.min(), grid[values.argmin()]) == pytest.approx((-0.1881, 0.145), abs=1e-3)
    assert (values.max(), grid[values.argmax()]) == pytest.approx((0.0535, 0.709), abs=1e-3)
    logits = np.log([0.145, 0.855])
    gradient = tabular.entropy_gradient(logits)[0]
    assert delta(0.145) == pytest.approx(-gradient * 0.855)
