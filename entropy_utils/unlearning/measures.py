"""The numbers behind the claims of notebook 09, each from the records of runs, one value per seed."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def at_end(records: pd.DataFrame) -> pd.DataFrame:
    """The last record of every seed, by seed."""
    return records.sort_values("step").groupby("seed").tail(1).set_index("seed").sort_index()  # `last()` would skip a NaN


def smallest_fall(runs: Iterable[pd.DataFrame], column: str) -> pd.Series:
    """Smallest decrease of a column's end value from one run to the next, per seed; negative where it rises."""
    table = pd.DataFrame([at_end(records)[column] for records in runs])
    return -table.diff().iloc[1:].max()


def best_utility(runs: Iterable[pd.DataFrame], fact_prob: float = 0.05) -> pd.Series:
    """Largest utility among the runs that forgot the facts (`fact_prob` at most), per seed; 0 where none did."""
    ends = [at_end(records) for records in runs]
    return pd.DataFrame([end.utility.where(end.fact_prob <= fact_prob, 0.0) for end in ends]).max()


def smallest_step(series: Iterable[pd.Series]) -> pd.Series:
    """Smallest increase from one series to the next, per seed: positive where the order holds."""
    return pd.DataFrame(list(series)).diff().iloc[1:].min()


def largest(series: Iterable[pd.Series]) -> pd.Series:
    """The largest of several values per seed."""
    return pd.DataFrame(list(series)).max()


def smallest(series: Iterable[pd.Series]) -> pd.Series:
    """The smallest of several values per seed."""
    return pd.DataFrame(list(series)).min()
