"""The numbers behind the claims of notebook 05, each from the records of runs, one value per seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .law import LawFit, fit_law, predict_end


def final(records: pd.DataFrame, column: str, rollouts: int = 20) -> pd.Series:
    """Mean of a column over the last `rollouts` rollouts of every seed (missing values left out)."""
    return records[records.step > records.step.max() - rollouts].groupby("seed")[column].mean()


def remaining_entropy(records: pd.DataFrame) -> pd.Series:
    """Entropy at the end of every seed's run as a share of the entropy at its start."""
    return final(records, "entropy") / records.groupby("seed").entropy.first()


def early_share(records: pd.DataFrame, column: str, part: float = 1 / 3) -> pd.Series:
    """Share of the whole change of a column that has happened after the first `part` of the run, per seed."""
    measured = records.dropna(subset=[column])
    start = measured.groupby("seed")[column].first()
    near = measured[(measured.step - part * records.step.max()).abs() <= 5].groupby("seed")[column].mean()
    return (near - start) / (final(records, column) - start)


def law_fits(records: pd.DataFrame, form: str = "exponential", accuracy: str = "accuracy") -> dict[int, LawFit]:
    """Fit of R = -a e^H + b (or another form) to every seed's evaluations."""
    points = records.dropna(subset=["accuracy"]).groupby("seed")
    return {seed: fit_law(run.entropy, run[accuracy], form) for seed, run in points}


def coefficient_spread(runs: list[pd.DataFrame]) -> float:
    """Largest relative deviation of any a or b from its mean, over all seeds of all runs."""
    fits = [fit for records in runs for fit in law_fits(records).values()]
    table = np.array([(fit.a, fit.b) for fit in fits])
    return float(np.abs(table / table.mean(0) - 1).max())


def prediction_errors(records: pd.DataFrame, share: float = 0.15) -> pd.Series:
    """Predicted minus measured final accuracy when the law is fitted on the first `share` of the evaluations."""
    errors = {}
    for seed, run in records.dropna(subset=["accuracy"]).groupby("seed"):
        predicted, measured = predict_end(run.entropy, run.accuracy, share)
        errors[seed] = predicted - measured
    return pd.Series(errors)


def lemma_agreement(records: pd.DataFrame) -> pd.DataFrame:
    """Correlation and slope of the measured against the predicted entropy change, per seed."""
    rows = {}
    for seed, run in records.dropna(subset=["entropy_change"]).groupby("seed"):
        x, y = run.predicted_change.to_numpy(float), run.entropy_change.to_numpy(float)
        rows[seed] = {"correlation": np.corrcoef(x, y)[0, 1], "slope": np.polyfit(x, y, 1)[0]}
    return pd.DataFrame(rows).T


def covariance_trend(records: pd.DataFrame, window: int = 1) -> pd.Series:
    """Correlation of the group covariance (eq. 8-9) with the fall of the entropy, both smoothed, per seed."""
    correlations = {}
    for seed, run in records.groupby("seed"):
        pair = run[["group_covariance", "entropy_change"]].astype(float).rolling(window).mean().dropna()
        correlations[seed] = -np.corrcoef(pair.T)[0, 1]
    return pd.Series(correlations)


def exact_summary(records: pd.DataFrame) -> dict[str, float]:
    """Of an exact tabular run: the law's fit, the entropy fall against the covariance, and the early prediction's error."""
    fit = fit_law(records.entropy, records.reward)
    predicted, measured = predict_end(records.entropy, records.reward)
    return {
        "a": fit.a,
        "b": fit.b,
        "R²": fit.r_squared,
        "correlation": np.corrcoef(-records.entropy_change, records.covariance)[0, 1],
        "slope": np.polyfit(records.covariance, -records.entropy_change, 1)[0],
        "smallest covariance": records.covariance.min(),
        "early error": predicted - measured,
    }


def removed_share(records: pd.DataFrame, left_out: str, share: float) -> pd.Series:
    """Share of the entropy fall that disappears when some tokens are left out of the step, per seed."""
    change = records.groupby(["left_out", "share", "seed"]).entropy_change.mean()
    return 1 - change[left_out, share] / change["none", 0.0]
