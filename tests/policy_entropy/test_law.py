"""Fits of the law: planted coefficients come back, numpy fits the same, the published points give the known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils.policy_entropy.law import FORMS, LawFit, fit_law, predict_end
from entropy_utils.policy_entropy.published import COEFFICIENTS, LAW_POINTS

BASIS = {"exponential": np.exp, "linear": lambda h: h, "quadratic": lambda h: h**2}
H = np.linspace(0.05, 1.2, 9)


def noisy(form="exponential", seed=0):
    return 0.9 - 0.2 * BASIS[form](H) + np.random.default_rng(seed).normal(0, 0.03, len(H))


@given(
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.sampled_from(sorted(FORMS)),
    st.lists(st.floats(0, 2), min_size=3, max_size=9),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_planted_coefficients_come_back(a, b, form, entropies):
    h = np.array([0.0, 1.0, *entropies])
    law = fit_law(h, -a * BASIS[form](h) + b, form)
    assert (law.form, law.a, law.b) == (form, pytest.approx(a, abs=1e-9), pytest.approx(b, abs=1e-9))
    assert law.rmse < 1e-9
    assert law.ceiling == pytest.approx(b - a if form == "exponential" else b, abs=1e-9)
    assert law(np.array([0.3])) == pytest.approx(-a * BASIS[form](0.3) + b, abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_numpy_fits_the_same(form):
    r = noisy(form)
    law, (slope, intercept) = fit_law(H, r, form), np.polyfit(BASIS[form](H), r, 1)
    assert (law.a, law.b) == (pytest.approx(-slope), pytest.approx(intercept))
    rest = r - (slope * BASIS[form](H) + intercept)
    assert law.rmse == pytest.approx(np.sqrt((rest**2).mean()))
    assert law.r_squared == pytest.approx(np.corrcoef(BASIS[form](H), r)[0, 1] ** 2)
    np.testing.assert_allclose(r - law(H), rest, atol=1e-12)


def test_percent_and_fractions_give_the_same_law():
    r = noisy()
    fraction, percent = fit_law(H, r), fit_law(H, 100 * r)
    assert percent.a == pytest.approx(100 * fraction.a)
    assert percent.ceiling == pytest.approx(100 * fraction.ceiling)
    assert percent.r_squared == pytest.approx(fraction.r_squared)


def test_the_true_form_fits_best():
    for true in FORMS:
        r = 0.9 - 0.2 * BASIS[true](H)
        rmse = {form: fit_law(H, r, form).rmse for form in FORMS}
        assert min(rmse, key=rmse.get) == true


def test_no_spread_has_no_r_squared():
    assert np.isnan(fit_law(H, np.full(len(H), 0.5)).r_squared)


@pytest.mark.parametrize(
    ("h", "r", "message"),
    [
        ([0.1, 0.2], [1, 2], r"entropy \(2,\) and accuracy \(2,\): allowed are two series of 3 or more"),
        ([0.1, 0.2, 0.3], [1, 2], r"entropy \(3,\) and accuracy \(2,\)"),
        ([[0.1, 0.2, 0.3]], [[1, 2, 3]], r"entropy \(1, 3\)"),
        ([0.1, np.nan, 0.3], [1, 2, 3], "NaN or infinite values, allowed: finite numbers"),
        ([0.1, 0.2, 0.3], [1, np.inf, 3], "NaN or infinite values"),
    ],
)
def test_bad_input_is_one_line(h, r, message):
    with pytest.raises(ValueError, match=message) as caught:
        fit_law(h, r)
    assert "\n" not in str(caught.value)


def test_predicted_end_of_a_run_that_obeys_the_law():
    h = np.linspace(1.0, 0.05, 60)
    predicted, measured = predict_end(h, 0.9 - 0.2 * np.exp(h))
    assert predicted == pytest.approx(measured, abs=1e-12)
    assert measured == pytest.approx((0.9 - 0.2 * np.exp(h[-5:])).mean(), abs=1e-12)


def test_predicted_end_sees_only_the_early_points():
    h, rng = np.linspace(1.0, 0.05, 40), np.random.default_rng(1)
    r = 0.9 - 0.2 * np.exp(h) + rng.normal(0, 0.01, 40)
    later = r.copy()
    later[6:] -= 0.1  # 15 % of 40 points are the first 6
    slope, intercept = np.polyfit(np.exp(h[:6]), r[:6], 1)
    for run in (r, later):
        predicted, measured = predict_end(h, run, share=0.15, tail=3)
        assert predicted == pytest.approx((intercept + slope * np.exp(h[-3:])).mean())
        assert measured == pytest.approx(run[-3:].mean())


def published(model, form="exponential"):
    h, percent = np.array(LAW_POINTS[model]).T
    return fit_law(h, percent, form)


def test_published_points_of_the_7b_model():
    law = published("7B")
    assert law.a / 100 == pytest.approx(0.206, abs=0.02)
    assert law.b / 100 == pytest.approx(0.592, abs=0.02)
    assert law.ceiling / 100 == pytest.approx(COEFFICIENTS["mathematics"]["7B"][2] - 0.211, abs=0.02)


@pytest.mark.parametrize(
    ("model", "rmse"),
    [("32B", (1.06, 1.44, 0.86)), ("7B", (0.99, 1.25, 0.85)), ("3B", (0.95, 1.33, 0.79)), ("0.5B", (1.18, 0.69, 1.39))],
)
def test_residuals_of_the_published_points(model, rmse):
    found = [published(model, form).rmse for form in ("exponential", "linear", "quadratic")]
    assert found == [pytest.approx(wanted, abs=0.006) for wanted in rmse]


def test_the_32b_run_ends_above_its_own_ceiling():
    assert max(r for _, r in LAW_POINTS["32B"]) == 46.0
    assert published("32B").ceiling == pytest.approx(45.2, abs=0.3)


@pytest.mark.parametrize(
    ("subject", "column", "intercept", "slope", "r_squared"),
    [
        ("mathematics", 1, 0.101, 0.0463, 0.91),
        ("mathematics", 2, 0.333, 0.1155, 0.96),
        ("code", 1, 0.092, 0.0349, 0.92),
        ("code", 2, 0.326, 0.0917, 0.985),
    ],
)
def test_coefficients_are_linear_in_the_logarithm_of_the_size(subject, column, intercept, slope, r_squared):
    table = np.array(list(COEFFICIENTS[subject].values()))
    line = fit_law(np.log(table[:, 0]), table[:, column], "linear")
    assert -line.a == pytest.approx(slope, abs=6e-5)
    assert line.b == pytest.approx(intercept, abs=6e-4)
    assert line.r_squared == pytest.approx(r_squared, abs=0.006)


def test_a_fit_is_a_plain_curve():
    law = LawFit("exponential", 0.2, 0.6, 0.0, 1.0)
    np.testing.assert_allclose(law([0.0, np.log(2)]), [0.4, 0.2])
