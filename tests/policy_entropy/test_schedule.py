"""Target curves: their values at the ends and between, and everything that is refused before any work."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropy_utils.lab.errors import ParameterError
from entropy_utils.policy_entropy.coin_flip_bandit import CoinFlipBandit
from entropy_utils.policy_entropy.grpo import GRPO
from entropy_utils.policy_entropy.interventions import intervention
from entropy_utils.policy_entropy.schedule import Schedule

nats = st.floats(0, 5, allow_subnormal=False)
shares = st.floats(0, 1, exclude_max=True, allow_subnormal=False)


@pytest.mark.parametrize(
    ("text", "start", "middle", "end"),
    [
        ("constant:0.5", 0.5, 0.5, 0.5),
        ("0.7", 0.7, 0.7, 0.7),
        ("linear:1.2:0.6", 1.2, 0.9, 0.6),
        ("cosine:1.2:0.6", 1.2, 0.9, 0.6),
        ("steps:1.2@0:0.8@0.5:0.1@0.75", 1.2, 0.8, 0.1),
        ("points:1.2@0:0.3@0.5:0.6@1", 1.2, 0.3, 0.6),
    ],
)
def test_values_at_the_start_the_middle_and_the_end(text, start, middle, end):
    schedule = Schedule.of(text)
    assert schedule.at(np.array([0, 0.5, 1])) == pytest.approx([start, middle, end])
    assert schedule.value(0, 10) == pytest.approx(start)
    assert schedule.value(5, 10) == pytest.approx(middle)


def test_the_published_formulas_step_by_step():
    """linear and cosine as the released code writes them, t of N steps, t = 0 ... N - 1."""
    h0, h1, n = 0.65, 0.15, 37
    for t in range(n):
        assert Schedule.of("linear:0.65:0.15").value(t, n) == pytest.approx(h0 + (h1 - h0) * t / n)
        cosine = h0 + (h1 - h0) * (1 - math.cos(math.pi * t / n)) / 2
        assert Schedule.of("cosine:0.65:0.15").value(t, n) == pytest.approx(cosine)


def test_a_step_changes_exactly_at_its_place():
    curve = Schedule.of("steps:2@0:1@0.5").curve(10)
    assert curve.tolist() == [2] * 5 + [1] * 5


@given(kind=st.sampled_from(["linear", "cosine"]), first=nats, last=nats, steps=st.integers(2, 200))
def test_an_annealed_curve_is_monotone_between_its_ends(kind, first, last, steps):
    curve = Schedule(kind=kind, values=(first, last)).curve(steps)
    assert curve[0] == pytest.approx(first)
    assert (np.diff(curve) * np.sign(last - first) >= -1e-12).all()
    assert curve.min() >= min(first, last) - 1e-12
    assert curve.max() <= max(first, last) + 1e-12


@given(values=st.lists(nats, min_size=2, max_size=9), share=shares)
def test_free_hand_points_are_met_and_never_left(values, share):
    places = tuple(float(x) for x in np.linspace(0, 1, len(values)))
    schedule = Schedule(kind="points", values=tuple(values), places=places)
    assert schedule.at(places) == pytest.approx(values)
    assert min(values) - 1e-12 <= schedule.at(share) <= max(values) + 1e-12


@given(kind=st.sampled_from(["constant", "linear", "cosine"]), values=st.tuples(nats, nats), share=shares)
def test_text_says_everything(kind, values, share):
    schedule = Schedule(kind=kind, values=values[: 1 if kind == "constant" else 2])
    assert Schedule.of(str(schedule)).at(share) == pytest.approx(schedule.at(share), abs=1e-10)


@pytest.mark.parametrize("text", ["constant:0.5", "linear:1.2:0.6", "steps:1.2@0:0.8@0.5", "points:1.2@0:0.3@0.5:0.6@1"])
def test_a_form_is_read_back_and_saved(text):
    schedule = Schedule.of(text)
    assert str(schedule) == text
    assert Schedule.of(schedule) is schedule
    assert Schedule.of(schedule.model_dump()) == schedule
    method = intervention(f"entrocraft target={text}")
    assert method == intervention({"name": "entrocraft", "target": schedule})
    assert method.model_dump(mode="json")["target"] == text
    experiment = CoinFlipBandit.profile("smoke", intervention=method)
    assert CoinFlipBandit(**experiment.model_dump(mode="json")) == experiment


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("points:1@0:0.5@0.8", r"places \(0.0, 0.8\) leave a part of the training without a target.*from 0 to 1"),
        ("points:1@0.2:0.5@1", r"leave a part of the training without a target"),
        ("steps:1@0.1", r"leave a part of the training without a target: allowed are places from 0 on"),
        ("steps:1@0:0.5@1.5", r"shares of the training, 0 to 1"),
        ("points:1@0:2@0.6:1.5@0.4:1@1", r"places .*allowed are rising numbers"),
        ("steps:1@0:2@0.5:1@0.5", r"allowed are rising numbers"),
        ("points:1@0:0.5", r"a schedule is|one place per value"),
        ("points:1:0.5", r"2 values and 0 places"),
        ("linear:1.2", r"linear takes 2 value"),
        ("constant:1:2", r"constant takes 1 value"),
        ("linear:1@0:2@1", r"linear takes 2 value\(s\) and no places"),
        ("linear:1:nan", r"'values\[1\]': got nan"),
        ("wave:1:2", r"got 'wave'.*allowed: 'constant' or 'linear'"),
        ("", r"a schedule is a number, constant:H"),
        ("high", r"a schedule is a number"),
        (None, r"a schedule is a number"),
        (True, r"a schedule is a number"),
    ],
)
def test_a_wrong_curve_is_one_line_before_any_work(target, message):
    with pytest.raises(ParameterError, match=message) as caught:
        GRPO.profile("smoke", intervention={"name": "entrocraft", "target": target})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["entrocraft", "entropic"])
@pytest.mark.parametrize("target", [-0.1, 3.5, "linear:1.2:-0.2", "points:1@0:4@0.5:1@1"])
def test_a_target_outside_zero_and_log_v_is_refused_when_the_experiment_is_made(name, target):
    with pytest.raises(ParameterError, match=r"field 'target': got .*allowed: targets from 0 to ln 32 = 3.466 nats"):
        CoinFlipBandit.profile("smoke", intervention={"name": name, "target": target})


def test_the_largest_entropy_and_zero_are_allowed():
    Schedule.of(f"linear:{math.log(32) - 1e-9}:0").check(32, 1)


@pytest.mark.parametrize(("step", "steps"), [(-1, 10), (10, 10), (0, 0)])
def test_a_step_outside_the_run_is_refused(step, steps):
    with pytest.raises(ParameterError, match="field 'step'"):
        Schedule().value(step, steps)


def test_a_run_without_steps_is_refused():
    with pytest.raises(ParameterError, match="field 'steps': got 0"):
        Schedule().check(32, 0)
