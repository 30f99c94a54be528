"""Energy that black holes injected between snapshots, from the cumulative values that TNG stores (4.1)."""

from __future__ import annotations

import numpy as np

from entropy_utils.lab.errors import ParameterError

from . import cosmology

ERG = 1.989e53 / cosmology.h  # code unit of energy, 1e10 Msun/h (km/s)²


def injected_energy(cumulative, progenitors=None, brought=None) -> np.ndarray:
    """Energy (erg) injected by each cluster's black hole between a snapshot and the next; NaN where it cannot be known.

    `cumulative`: (n, m) BH_CumEgyInjection_RM (kinetic) or _QM, code units. When black holes merge, the value of the one
    that is swallowed is added to it, which is no injection. `progenitors`: (n, m) BH_Progs, which rises at a merger;
    `brought`: (n, m - 1) the cumulative values of those swallowed in an interval, code units, NaN if not known. It is
    subtracted; a merger without it makes the interval NaN, and so does a value that falls (another black hole became the
    central one).
    """
    cumulative = np.asarray(cumulative, float)
    if cumulative.ndim != 2 or cumulative.shape[1] < 2:
        raise ParameterError.of("cumulative", cumulative.shape, "shape (clusters, snapshots), two snapshots or more")
    gained = np.diff(cumulative)
    merged = np.zeros(gained.shape, bool)
    if progenitors is not None:
        if np.shape(progenitors) != cumulative.shape:
            raise ParameterError.of("progenitors", np.shape(progenitors), f"shape {cumulative.shape}, as cumulative")
        merged = np.diff(np.asarray(progenitors, float)) > 0
    if brought is None:
        brought = np.where(merged, np.nan, 0.0)
    elif np.shape(brought) != gained.shape:
        raise ParameterError.of("brought", np.shape(brought), f"shape {gained.shape}, one per interval")
    gained = gained - brought
    return np.where(gained >= 0, gained, np.nan) * ERG
