"""Temporal consolidation: parcels of several days for one address brought at once. Nobody else moves, and entropy falls.

Cells are pairs (address, delivery day). Pooling `w` days merges the cells of one address in a window. Addresses cannot be
linked between days in the public routes, so demand is simulated. Our reconstruction: the paper's own formulas
are not known. Equation numbers are those of notebook 02.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammaln

from entropy_utils.information import log_factorial, log_multiplicity
from entropy_utils.lab.errors import ParameterError


class Temporal(NamedTuple):
    """Delivery events and entropies (nats) with and without pooling, over the same days.

    `entropy`: ln N!/prod n!, parcels over (address, delivery) cells; `order`: ln E!, the orders of E delivery events.
    """

    events: int
    events_before: int
    entropy: float
    entropy_before: float
    order: float
    order_before: float
    parcels: int
    days: int


def temporal_consolidation(counts, w: int) -> Temporal:
    """Pool windows of `w` days; counts (days, addresses) are parcels. Days of a last, incomplete window are dropped."""
    counts = np.asarray(counts)
    if counts.ndim != 2 or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ParameterError.of("counts", f"{counts.dtype} {counts.shape}", "whole numbers from 0, (days, addresses)")
    if isinstance(w, bool) or not isinstance(w, (int, np.integer)) or not 1 <= w <= len(counts):
        raise ParameterError.of("w", w, f"integer from 1 to the number of days, {len(counts)}")
    days = len(counts) // w * w
    before, after = counts[:days], counts[:days].reshape(-1, w, counts.shape[1]).sum(1)
    events = [int((n > 0).sum()) for n in (after, before)]
    entropies = [float(log_multiplicity(n, axis=None)) for n in (after, before)]
    orders = [float(log_factorial(e)) for e in events]
    return Temporal(*events, *entropies, *orders, int(before.sum()), int(days))


def pooling_table(rates, windows, days: int = 60, addresses: int = 2000, seed: int = 0) -> pd.DataFrame:
    """A simulated town: `events`, `order`, `entropy` as ratios to daily delivery, by rate (per address and day) and w."""
    rows = []
    for rate in rates:
        counts = poisson_demand(days, addresses, rate, seed)
        for w in windows:
            found = temporal_consolidation(counts, w)
            names = ("events", "order", "entropy")
            ratios = {name: getattr(found, name) / getattr(found, f"{name}_before") for name in names}
            rows.append({"rate": rate, "w": w, **ratios, "parcels": found.parcels})
    return pd.DataFrame(rows)


def poisson_demand(days: int, addresses: int, rate: float, rng: np.random.Generator | int = 0) -> np.ndarray:
    """Parcels (days, addresses), Poisson with `rate` per address and day."""
    if not 0 < rate < 1e6:
        raise ParameterError.of("rate", rate, "parcels per address and day, above 0")
    return np.random.default_rng(rng).poisson(rate, (days, addresses))


def events_ratio(rate, w):
    """Delivery events with windows of `w` days over those without, at Poisson `rate` per address and day (eq. 8)."""
    if not (np.isfinite(rate) & (np.asarray(rate) > 0)).all():
        raise ParameterError.of("rate", rate, "parcels per address and day, above 0")
    if not (np.isfinite(w) & (np.asarray(w) >= 1)).all():
        raise ParameterError.of("w", w, "days, from 1")
    return np.expm1(-np.multiply(rate, w)) / (w * np.expm1(-np.asarray(rate, float)))


def entropy_ratio(rate, w, parcels):
    """S with windows of `w` days over S without, for `parcels` in all over many addresses (eq. 9)."""
    top = np.log(parcels) - 1
    return (top - batching(np.multiply(rate, w))) / (top - batching(rate))


def batching(x):
    """E[ln X!] / x for X ~ Poisson(x): entropy that a parcel loses by sharing its cell; about x ln(2) / 2 for small x."""
    x = np.asarray(x, float)
    if not ((x > 0) & (x <= 1e6)).all():
        raise ParameterError.of("x", float(x.min()), "parcels per cell above 0, at most 1e6")
    k = np.arange(2, int(x.max() + 12 * np.sqrt(x.max()) + 30))
    log_p = k * np.log(x)[..., None] - x[..., None] - gammaln(k + 1)
    return (np.exp(log_p) * gammaln(k + 1)).sum(-1) / x
