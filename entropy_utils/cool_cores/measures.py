"""The numbers of notebook 03's claims, read off populations (or off real histories where there are some).

Tuned, so that agreement is a calibration: events per cluster, share up, up duration, median and spread of K0 at z = 0,
the shares of the classes, and that SCC phases are shorter than NCC phases. Not tuned, so outcomes: everything about mergers,
the AGN activity before events, the drift with redshift, the skewness and the rank correlations of K0.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

from .agn import activity_before
from .classes import by_cooling_time, by_entropy, fractions
from .histories import Histories
from .merger_control import merger_control
from .phases import Survival, phases, survival
from .runs import SENSITIVITY, TESTS
from .transformations import find_transformations

TUNED = ("events", "up_share", "up_median", "K_median", "K_dex", "scc", "ncc", "low", "scc_phase", "ncc_phase")
REDSHIFTS = (2.0, 1.0, 0.5)


def summary(populations: Iterable[Histories], K_real=None) -> pd.DataFrame:
    """One row per population, of all measures below; `K_real`: central entropies at z = 0 to compare with."""
    return pd.DataFrame([measure(histories, K_real) for histories in populations])


def measure(histories: Histories, K_real=None) -> dict[str, float]:
    """All numbers of one population, by name.

    events: transformations per cluster; up_events: how many upward ones in all; up_share: of the events; up_median, up_16,
    up_84: quantiles of the duration of upward ones, Gyr; none: share of clusters without any; returned: share of the upward
    ones that a downward one follows. scc_phase, ncc_phase: mean
    duration of all phases, Gyr; scc_complete, ncc_complete: of those not censored; scc_censored, ncc_censored: share.
    scc, wcc, ncc: shares by cooling time at the last snapshot (1 and 7.7 Gyr), low, high: by entropy (22, 150 keV cm²).
    K_median, K_dex, K_skew: of K0 and log10 K0 then; K_z2, K_z1, K_z0.5: medians; ks: distance from `K_real`.
    up_observed, up_expected, up_z, down_...: `merger_control` with its defaults. agn_up, agn_down, agn_control: median
    `activity_before`. rho_mergers, rho_mass, rho_z_form: Spearman correlations of K0 at the last snapshot with the number
    of mergers xi >= 0.1, m500c and z_form; K_many: median K0 of the tenth of the clusters with the most of these mergers,
    over that of all; auc: chance that an SCC cluster had fewer of these mergers than another one.
    What cannot be had (no mergers, no pulses, no events) is left out or NaN.
    """
    events, found = find_transformations(histories), {}
    n, K = len(histories), histories.K0[:, -1]
    up = events[events.direction == "up"]
    found["events"], found["up_events"] = len(events) / n, len(up)
    found["up_share"] = len(up) / len(events) if len(events) else np.nan
    length = up.t_end - up.t_start
    found |= {"up_median": length.median(), "up_16": length.quantile(0.16), "up_84": length.quantile(0.84)}
    found["none"] = 1 - events.cluster.nunique() / n
    found["returned"] = _followed(events)
    found |= _phase_lengths(phases(histories))
    if histories.t_cool is not None:
        state = by_cooling_time(histories.t_cool[:, -1])
        found |= dict(zip(("scc", "wcc", "ncc"), fractions(state), strict=True))
    low, _, high = fractions(by_entropy(K))
    found |= {"low": low, "high": high, "K_median": np.nanmedian(K)}
    logs = np.log10(K[np.isfinite(K)])
    found |= {"K_dex": logs.std(), "K_skew": stats.skew(logs) if np.ptp(logs) else np.nan}
    for z in REDSHIFTS:
        found[f"K_z{z:g}"] = np.nanmedian(histories.K0[:, np.abs(histories.z - z).argmin()])
    if K_real is not None:
        found["ks"] = stats.ks_2samp(K[np.isfinite(K)], K_real).statistic
    if len(histories.mergers):
        for direction, excess in merger_control(events, histories).items():
            found |= {f"{direction}_{name}": getattr(excess, name) for name in ("observed", "expected", "z")}
        many = merger_counts(histories)
        found["rho_mergers"] = _spearman(K, many)
        most = np.argsort(-many, kind="stable")[: max(n // 10, 1)]
        found["K_many"] = np.nanmedian(K[most]) / found["K_median"]
        if histories.t_cool is not None and 0 < found["scc"] < 1:
            scc, other = many[state == 0], many[state > 0]
            found["auc"] = stats.mannwhitneyu(other, scc).statistic / (len(scc) * len(other))
    for name, values in (("mass", histories.m500c), ("z_form", histories.z_form)):
        if values is not None:
            found[f"rho_{name}"] = _spearman(K, values)
    if histories.pulses is not None and len(up):
        rates = activity_before(events, histories).groupby("kind").rate.median()
        found |= {f"agn_{kind}": rate for kind, rate in rates.items()}
    return found


def merger_counts(histories: Histories, xi_min: float = 0.1) -> np.ndarray:
    """Mergers with xi >= xi_min of each cluster, (n,)."""
    mergers = histories.mergers[histories.mergers.xi >= xi_min]
    return np.bincount(mergers.cluster.to_numpy(), minlength=len(histories))


def mean_and_sd(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the populations of a `summary`; one row per measure."""
    return pd.DataFrame({"mean": table.mean(), "sd": table.std(ddof=1 if len(table) > 1 else 0)})


def sensitivity(populations: Iterable[Histories]) -> pd.DataFrame:
    """What each variant of the finder sees in the same populations: events per cluster, share up, median up duration."""
    populations, rows = list(populations), {}
    for label, changes in SENSITIVITY.items():
        tables = [find_transformations(histories, **changes) for histories in populations]
        events = pd.concat(tables)
        up = events[events.direction == "up"]
        clusters = sum(len(histories) for histories in populations)
        rows[label] = {"events": len(events) / clusters, "up": len(up) / clusters, "up_share": len(up) / max(len(events), 1)}
        rows[label]["up_median"] = (up.t_end - up.t_start).median()
    return pd.DataFrame.from_dict(rows, orient="index")


def merger_tests(populations: Iterable[Histories]) -> pd.DataFrame:
    """Every one of `runs.TESTS` on every population: test, population, direction, events, observed, expected, z and p."""
    rows = []
    for number, histories in enumerate(populations):
        events = find_transformations(histories)
        for label, changes in TESTS.items():
            for direction, excess in merger_control(events, histories, **changes).items():
                row = {"test": label, "population": number, "direction": direction, "events": excess.events}
                rows.append(row | {name: getattr(excess, name) for name in ("observed", "expected", "z", "p")})
    return pd.DataFrame(rows)


def all_phases(populations: Iterable[Histories], **changes) -> pd.DataFrame:
    """The `phases` of all populations in one table, with a column `population`."""
    return pd.concat([phases(h, **changes).assign(population=k) for k, h in enumerate(populations)], ignore_index=True)


def phase_survival(table: pd.DataFrame) -> dict[str, Survival]:
    """Kaplan-Meier curve of each class of a table of `phases`, of those in which a phase was seen to its end."""
    return {phase: survival(own.duration, own.censored) for phase, own in table.groupby("phase") if not own.censored.all()}


def event_counts(populations: Iterable[Histories]) -> pd.Series:
    """Share of the clusters with 0, 1, 2, ... transformations."""
    counts = []
    for histories in populations:
        counts.append(np.bincount(find_transformations(histories).cluster, minlength=len(histories)))
    return pd.Series(np.bincount(np.concatenate(counts)) / sum(map(len, counts)))


def _followed(events: pd.DataFrame) -> float:
    """Share of the upward events after which the same cluster has a downward one; NaN without upward ones."""
    up = events[events.direction == "up"]
    last_down = events[events.direction == "down"].groupby("cluster").t_start.max()
    return float((up.t_end <= up.cluster.map(last_down)).mean()) if len(up) else float("nan")


def _phase_lengths(table: pd.DataFrame) -> dict[str, float]:
    found = {}
    for phase in ("SCC", "NCC"):
        own, name = table[table.phase == phase], phase.lower()
        found[f"{name}_phase"] = own.duration.mean()
        found[f"{name}_complete"] = own.duration[~own.censored].mean()
        found[f"{name}_censored"] = own.censored.mean()
    return found


def _spearman(a, b) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    return float(stats.spearmanr(a[known], b[known]).statistic) if np.ptp(a[known]) and np.ptp(b[known]) else float("nan")
