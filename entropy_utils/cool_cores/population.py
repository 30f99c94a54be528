"""The population model of notebook 03: cluster cores that cool, are heated in pulses by their AGN, and stirred by mergers.

    d ln K = -dt / t_cool(K) + mergers + AGN pulses

Form and numbers are our choice (they are not the paper's), and the numbers are tuned to the real catalogue at z = 0: which
quantities that makes a calibration, and which are outcomes, is said where they are measured (`measures`). Each cluster has
a mass M500c exp(-a z), a = ln 2 / z_form; mergers come at the rate of Fakhouri et al. 2010 (`merger_rate`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Experiment, Record

from . import merger_rate
from .classes import by_cooling_time, by_entropy, fractions
from .cooling import cooling_time
from .cosmology import age, redshift
from .histories import Histories
from .merger_control import recent_merger
from .population_steps import Planned, Rules, core_temperature, follow
from .transformations import find_transformations

# Documented redshifts of some TNG snapshots; those between are interpolated where the simulation's own list is not at hand
KNOWN = {28: 2.58, 33: 2.0, 40: 1.5, 50: 1.0, 59: 0.7, 67: 0.5, 72: 0.4, 78: 0.3, 84: 0.2, 91: 0.1, 99: 0.0}
LEAST_RATIO = 0.01  # of the mergers that are drawn
FOF = 1.4  # mass by which the merger rate goes, over M500c
GROWTH = (0.45, 1.6)  # a in M500c exp(-a z)
CHUNK = 1024  # clusters at a time: memory stays below 100 MB however many there are
GYR, PER_GYR, SHARE, KEV, LN_K = ({"unit": unit} for unit in ("Gyr", "1 / Gyr", "share", "keV cm²", "ln K"))


def snapshot_redshifts() -> np.ndarray:
    """Redshifts (72,) of TNG snapshots 28 to 99, good to 0.04: the documented ones, and ln(1 + z) linear between."""
    known = np.log1p(list(KNOWN.values()))
    return np.expm1(np.interp(np.arange(28, 100), list(KNOWN), known))


def catalogue_like(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """n clusters drawn from a description of the TNG-Cluster catalogue: `log10_m500c_msun`, `z_form`, independent.

    log10 M500c is normal with mean 14.636 and standard deviation 0.267, cut at 13.99 and 15.27; z_form is a gamma variable
    of mean 0.477 and standard deviation 0.217. Their rank correlation in the catalogue is -0.06.
    """
    shape = (0.477 / 0.217) ** 2
    mass = np.clip(rng.normal(14.636, 0.267, n), 13.99, 15.27)
    return pd.DataFrame({"log10_m500c_msun": mass, "z_form": rng.gamma(shape, 0.477 / shape, n)})


class Population(Experiment):
    """Histories of many cluster cores since z = 2.58, and what the finder sees in them.

    `simulate` gives the histories. `run` yields, per seed and snapshot: `t` (Gyr), `z`; quantiles `K16`, `K50`, `K84` of
    the central entropy (keV cm²); shares of the clusters by cooling time, `scc` (below 1 Gyr) and `ncc` (above 7.7 Gyr), and
    by entropy, `low` (K <= 22) and `high` (K > 150); per cluster since the snapshot before: `pulses`, and `up` and
    `down`, transformations with their steepest slope there; `up_merged` and `down_merged`: those of them with a
    merger (xi >= 0.1) in the Gyr before, and `up_expected`, `down_expected`: the same with the share of all clusters that
    had one.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"dt": 0.02, "seeds": 1},
        "laptop": {},
        "gpu": {"clusters": 100_000, "seeds": 1},
    }

    clusters: int = Field(352, ge=2, le=2_000_000, description="clusters", json_schema_extra={"scale": "log"})
    seeds: int = Field(8, ge=1, le=1000, description="populations, one after the other")
    dt: float = Field(0.01, ge=0.001, le=0.05, description="step", json_schema_extra=GYR)
    cooling: bool = Field(True, description="whether cores cool")
    agn: bool = Field(True, description="whether there are AGN pulses")
    K_start: float = Field(19.0, ge=4, le=500, description="median entropy at the start", json_schema_extra=KEV)
    K_start_dex: float = Field(0.27, ge=0, le=1, description="its scatter", json_schema_extra={"unit": "dex"})
    K_min: float = Field(3.0, ge=1, le=4, description="least entropy", json_schema_extra=KEV)
    p_heat: float = Field(0.45, ge=0, le=1, description="chance that a merger of large ratio heats", json_schema_extra=SHARE)
    xi_heat: float = Field(0.25, ge=0.01, le=2, description="ratio from which mergers heat")
    jump: float = Field(0.5, ge=0, le=3, description="mean of ln K that a heating merger adds", json_schema_extra=LN_K)
    mixing: float = Field(0.5, ge=0.05, le=2, description="time over which it adds it", json_schema_extra=GYR)
    lag: float = Field(0.3, ge=0, le=2, description="longest delay, uniform from 0", json_schema_extra=GYR)
    boost_rate: float = Field(2.7, ge=0, le=20, description="added to rate_on after that", json_schema_extra=PER_GYR)
    boost_tau: float = Field(0.5, ge=0.05, le=2, description="for how long", json_schema_extra=GYR)
    rate_on: float = Field(0.22, ge=0, le=10, description="rate of AGN switching on", json_schema_extra=PER_GYR)
    tau_on: float = Field(1.3, ge=0.1, le=10, description="mean time that an AGN stays on", json_schema_extra=GYR)
    g_on: float = Field(2.9, ge=0, le=10, description="mean heating over cooling when on")
    g_off: float = Field(0.64, ge=0, le=10, description="mean heating over cooling when off")
    K_floor: float = Field(12.0, ge=1, le=30, description="entropy below which heating always wins", json_schema_extra=KEV)
    pulse: float = Field(0.08, ge=0.01, le=0.5, description="size of an AGN pulse", json_schema_extra=LN_K)
    ceiling: float = Field(0.6, ge=0.1, le=3, description="entropy that heating cannot exceed, over K500")
    noise: float = Field(0.04, ge=0, le=0.3, description="scatter of the recorded K", json_schema_extra={"unit": "dex"})

    def length(self) -> int:
        return self.seeds * len(KNOWN_SNAPSHOTS)

    def run(self) -> Iterator[Record]:
        for seed in range(self.seed, self.seed + self.seeds):
            yield from snapshots(seed, self.simulate(seed))

    def populations(self, catalogue: pd.DataFrame | None = None, z=None) -> list[Histories]:
        """One population per seed; see `simulate`."""
        return [self.simulate(seed, catalogue, z) for seed in range(self.seed, self.seed + self.seeds)]

    def simulate(self, seed: int | None = None, catalogue: pd.DataFrame | None = None, z=None) -> Histories:
        """Histories of `clusters` cores: K0, t_cool, pulses, mergers (xi >= 0.01), m500c and z_form.

        seed: by default that of the experiment. catalogue: real clusters, with columns `log10_m500c_msun` and `z_form`; if
        there are not `clusters` of them, as many are drawn from it with replacement; without it, clusters are drawn by
        `catalogue_like`. z: falling redshifts of the snapshots, at most 10, the first is the start; by default TNG's.
        """
        z = KNOWN_SNAPSHOTS if z is None else np.asarray(z, float)
        if z.ndim != 1 or z.size < 2 or not (np.isfinite(z).all() and z[0] <= 10 and z[-1] >= 0 and (np.diff(z) < 0).all()):
            raise ParameterError.of("z", list(z.ravel()[:3]), "falling redshifts from 10 at most to 0 at least")
        rng = np.random.default_rng([self.seed if seed is None else seed, 3])
        sample = self.sample(catalogue, rng)
        t = age(z)
        steps = round((t[-1] - t[0]) / self.dt)
        dt = (t[-1] - t[0]) / steps
        at = np.rint((t - t[0]) / dt).astype(np.int64)
        if (np.diff(at) < 1).any():
            raise ParameterError.of("dt", self.dt, "less than the time between two snapshots")
        rules = Rules(**{name: getattr(self, name) for name in Rules._fields} | {"dt": dt})
        times = t[0] + dt * np.arange(steps)
        parts = []
        for first in range(0, len(sample), CHUNK):
            parts.append(self._chunk(sample.iloc[first : first + CHUNK], first, times, rules, at, rng))
        lnK, pulses, mergers = zip(*parts, strict=True)
        K0 = np.exp(np.concatenate(lnK))
        K0 *= np.exp(self.noise * np.log(10) * rng.standard_normal(K0.shape))
        mass, growth = 10 ** sample.log10_m500c_msun.to_numpy(), growth_rate(sample.z_form.to_numpy())
        then = mass[:, None] * np.exp(-growth[:, None] * z)
        return Histories(
            halo_id=np.arange(len(sample)), t=t, z=z, K0=K0, t_cool=cooling_time(K0, core_temperature(then, K0)),
            m500c=mass, z_form=sample.z_form.to_numpy(), pulses=np.concatenate(pulses),
            mergers=pd.concat(mergers, ignore_index=True), max_gap=max(0.5, float(np.diff(t).max())),
        )  # fmt: skip

    def sample(self, catalogue: pd.DataFrame | None, rng: np.random.Generator) -> pd.DataFrame:
        """Mass and formation redshift of every cluster."""
        if catalogue is None:
            return catalogue_like(self.clusters, rng)
        for name in ("log10_m500c_msun", "z_form"):
            if name not in catalogue or not np.isfinite(catalogue[name]).all():
                raise ParameterError.of("catalogue", list(catalogue.columns)[:5], f"a table with numbers in column {name}")
        if self.clusters == len(catalogue):
            return catalogue
        return catalogue.iloc[rng.integers(len(catalogue), size=self.clusters)]

    def _chunk(self, sample, first, times, rules, at, rng) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        """ln K at the snapshots, pulses between them, and mergers of some clusters, the `first`, ... of all."""
        n, z = len(sample), redshift(times)
        mass, growth = 10 ** sample.log10_m500c_msun.to_numpy(), growth_rate(sample.z_form.to_numpy())
        lnK = np.log(self.K_start) + self.K_start_dex * np.log(10) * rng.standard_normal(n)
        on = rng.random(n) < self.rate_on * self.tau_on / (1 + self.rate_on * self.tau_on)
        rate = merger_rate.merger_rate(FOF * mass[:, None] * np.exp(-growth[:, None] * z), z, LEAST_RATIO)
        cluster, step, xi = self._mergers(rate * rules.dt, rng)
        heat, boosted = self._heating(step, xi, cluster, (n, len(times)), rules.dt, rng)
        planned = Planned(heat, boosted, rng.random(heat.shape), rng.random(heat.shape))
        lnK, pulses = follow(lnK, on, mass, growth, z, planned, rules, at)
        return lnK, pulses, pd.DataFrame({"cluster": cluster + first, "t": times[step], "xi": xi})

    @staticmethod
    def _mergers(mean: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cluster, step and mass ratio of mergers, in order, whose mean numbers are `mean` (n, s)."""
        counts = rng.poisson(mean)
        cluster, step = np.nonzero(counts)
        times = counts[cluster, step]
        cluster, step = np.repeat(cluster, times), np.repeat(step, times)
        return cluster, step, merger_rate.mass_ratios(rng.random(len(cluster)), LEAST_RATIO)

    def _heating(self, step, xi, cluster, shape, dt, rng) -> tuple[np.ndarray, np.ndarray]:
        """What mergers add to ln K in each step (n, s), and whether an AGN-boost window is open then."""
        heats = rng.random(len(xi)) < self.p_heat * -np.expm1(-xi / self.xi_heat)
        cluster = cluster[heats]
        begin = step[heats] + (rng.random(len(cluster)) * self.lag / dt).astype(np.int64)
        jump = rng.exponential(self.jump, len(cluster)) if self.jump else np.zeros(len(cluster))
        steps = max(round(self.mixing / dt), 1)
        heat = spread(jump / steps, cluster, begin, steps, shape)
        return heat, spread(np.ones(len(cluster)), cluster, begin, max(round(self.boost_tau / dt), 1), shape) > 0.5


def growth_rate(z_form: np.ndarray) -> np.ndarray:
    """a of M500c exp(-a z) that makes z_form the half-mass redshift, within the bounds of `GROWTH`."""
    return np.clip(np.log(2) / np.maximum(z_form, 1e-3), *GROWTH)


def spread(values, row, begin, steps: int, shape: tuple[int, int]) -> np.ndarray:
    """An array (n, s) with each value added to `steps` steps of its row from its begin on, as far as they are there."""
    change = np.zeros((shape[0], shape[1] + 1))
    np.add.at(change, (row, np.minimum(begin, shape[1])), values)
    np.add.at(change, (row, np.minimum(begin + steps, shape[1])), -values)
    return np.cumsum(change, axis=1)[:, :-1]


def snapshots(seed: int, histories: Histories) -> Iterator[Record]:
    """The records of `Population.run` of one population."""
    events = find_transformations(histories)
    n, K = len(histories), histories.K0
    merged = recent_merger(histories, events.cluster.to_numpy(), events.t_peak.to_numpy())
    number = np.searchsorted(histories.t, events.t_peak)
    everyone = np.arange(n)
    for j, t in enumerate(histories.t):
        expected = recent_merger(histories, everyone, np.full(n, t)).mean()
        record = {"seed": seed, "t": t, "z": histories.z[j]}
        record |= {f"K{q}": np.percentile(K[:, j], q) for q in (16, 50, 84)}
        record["scc"], _, record["ncc"] = fractions(by_cooling_time(histories.t_cool[:, j]))
        record["low"], _, record["high"] = fractions(by_entropy(K[:, j]))
        record["pulses"] = histories.pulses[:, j - 1].mean() if j else 0.0
        for direction in ("up", "down"):
            here = (number == j) & (events.direction == direction).to_numpy()
            record[direction] = here.sum() / n
            record[f"{direction}_merged"] = merged[here].sum() / n
            record[f"{direction}_expected"] = expected * here.sum() / n
        yield record


KNOWN_SNAPSHOTS = snapshot_redshifts()
