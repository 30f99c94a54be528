"""Numbers read off the records of `expansion`: gains at a time, their rate, and how much the velocity cells matter."""

from __future__ import annotations

import numpy as np
import pandas as pd

PREFIX = "gain_"


def widths(records: pd.DataFrame, prefix: str = PREFIX) -> list[float]:
    """The widths of the velocity cells that records have columns for, coarsest first."""
    names = (name.removeprefix(prefix) for name in records.columns if name.startswith(prefix))
    return sorted((float(name) for name in names if name != "hydrodynamic"), reverse=True)


def curve(records: pd.DataFrame, dv: float, prefix: str = PREFIX) -> pd.DataFrame:
    """One row per time and one column per seed: the gain seen with cells of width `dv`."""
    return records.assign(time=records.time.round(9)).pivot(index="time", columns="seed", values=f"{prefix}{dv:g}")


def at(records: pd.DataFrame, time: float, prefix: str = PREFIX) -> pd.DataFrame:
    """One row per seed and one column per width, coarsest first: the gains at the record nearest to `time`."""
    return pd.DataFrame({dv: nearest(curve(records, dv, prefix), time) for dv in widths(records, prefix)})


def nearest(table: pd.DataFrame, time: float) -> pd.Series:
    """The row of a table of times that is nearest to `time`."""
    return table.iloc[np.abs(table.index.to_numpy() - time).argmin()]


def rates(records: pd.DataFrame, begin: float = 0.2, end: float = 1.0) -> pd.DataFrame:
    """One row per seed and one column per width: the rate of the gain, a straight line fitted from `begin` to `end`.

    The first moments are left out: there the position cells blur more than the velocity cells.
    """
    some = records[records.time.between(begin - 1e-9, end + 1e-9)]
    fits = {}
    for dv in widths(records):
        table = curve(some, dv)
        fits[dv] = pd.Series(np.polyfit(table.index, table.to_numpy(), 1)[0], index=table.columns)
    return pd.DataFrame(fits)


def power_law(x, y) -> tuple[float, float]:
    """Exponent and prefactor of y = prefactor x^exponent, fitted to the logarithms."""
    exponent, constant = np.polyfit(np.log(x), np.log(y), 1)
    return float(exponent), float(np.exp(constant))


def sensitivity(records: pd.DataFrame, time: float = 1.0, coarse: float = 1.0, fine: float = 0.25) -> pd.Series:
    """By seed: the gain that coarse velocity cells show at `time`, less what fine ones show."""
    gains = at(records, time)
    return gains[coarse] - gains[fine]
