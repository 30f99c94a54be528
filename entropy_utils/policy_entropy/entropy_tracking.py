"""How well a run follows its target curve, and what the controller did; one number per seed, from records.

Records are those of `CoinFlipBandit` or `GRPO` (step, seed, entropy, memory, accepted); a controller's memory is m:
+1 where the entropy lay above the band, -1 below, 0 inside.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .schedule import Schedule


def by_seed(records: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column as a table, one row per step and one column per seed."""
    return records.pivot(index="step", columns="seed", values=column)


def deviation(records: pd.DataFrame, target: Schedule, steps: int | None = None) -> pd.DataFrame:
    """Entropy minus target, nats; `steps` is the length that the run was to have, by default the length it has."""
    entropy = by_seed(records, "entropy")
    curve = target.at(entropy.index.to_numpy() / (steps or len(entropy)))
    return entropy.sub(curve, axis=0)


def tracking_error(records: pd.DataFrame, target: Schedule, after: int = 40) -> pd.Series:
    """Root mean square of entropy minus target from step `after` on, per seed, nats."""
    return np.sqrt((deviation(records, target)[after:] ** 2).mean())


def tracking_correlation(records: pd.DataFrame, target: Schedule, after: int = 40) -> pd.Series:
    """Correlation of entropy and target from step `after` on, per seed; NaN for a constant target."""
    entropy = by_seed(records, "entropy")
    curve = pd.Series(target.curve(len(entropy)), index=entropy.index)
    if np.ptp(curve[after:]) == 0:
        return pd.Series(np.nan, index=entropy.columns)
    return entropy[after:].corrwith(curve[after:])


def in_band(records: pd.DataFrame, target: Schedule, distance: float, after: int = 40) -> pd.Series:
    """Share of the steps from `after` on within `distance` (nats) of the target, per seed."""
    return (deviation(records, target)[after:].abs() <= distance).mean()


def response(records: pd.DataFrame, side: int) -> pd.DataFrame:
    """What a step did where m = `side`: mean entropy change (nats), share of rises, number of such steps, per seed.

    NaN for a seed without any such step.
    """
    change = by_seed(records, "entropy").diff().shift(-1)
    chosen = change.where(by_seed(records, "memory") == side)
    return pd.DataFrame(
        {"change": chosen.mean(), "rises": (chosen > 0).sum() / chosen.notna().sum(), "steps": chosen.notna().sum()}
    )


def accepted_when_rejecting(records: pd.DataFrame, windows: int = 8) -> pd.DataFrame:
    """Responses accepted per group in the steps with m other than 0, mean over equal parts of the run, (windows, seeds)."""
    accepted = by_seed(records, "accepted").where(by_seed(records, "memory") != 0)
    part = np.arange(len(accepted)) * windows // len(accepted)
    return accepted.groupby(part).mean()
