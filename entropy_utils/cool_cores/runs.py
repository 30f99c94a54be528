"""The populations of notebook 03 by name, the variants of the finder, and the ways to date and to control mergers."""

from __future__ import annotations

import numpy as np

from .population import Population

FIDUCIAL = "fiducial"
ABLATIONS: dict[str, dict] = {
    "no merger coupling": {"p_heat": 0.0},
    "merger heating, no AGN boost": {"boost_rate": 0.0},
    "AGN boost, no merger heating": {"jump": 0.0},
    "AGN never switched on": {"rate_on": 0.0, "boost_rate": 0.0},
    "no AGN": {"agn": False},
    "no cooling": {"cooling": False},
}
ABLATION_SEEDS = 4
# Other parameters that fit the catalogue nearly as well, the rest at their defaults: the tuning is degenerate
ALTERNATIVE = {
    "g_on": 2.4, "g_off": 0.66, "K_floor": 11.0, "rate_on": 0.25, "tau_on": 0.85,
    "boost_rate": 1.3, "p_heat": 0.77, "jump": 0.57,
}  # fmt: skip
FITTED = ("g_on", "g_off", "K_floor", "pulse", "rate_on", "tau_on", "boost_rate", "p_heat", "xi_heat", "jump", "ceiling")
SENSITIVITY: dict[str, dict] = {  # of the finder: label -> arguments of `find_transformations`
    "default": {},
    "sigma 0.10 Gyr": {"sigma": 0.10},
    "sigma 0.40 Gyr": {"sigma": 0.40},
    "change 0.30 dex": {"change": 0.30},
    "change 0.15 dex": {"change": 0.15},
    "rate 0.05 dex / Gyr": {"rate": 0.05},
    "rate 0.20 dex / Gyr": {"rate": 0.20},
    "duration 0.6 Gyr": {"duration": 0.60},
}
TESTS: dict[str, dict] = {  # of mergers: label -> arguments of `merger_control`
    "same times, other clusters": {},
    "same times, clusters of like mass": {"control": "matched"},
    "wrong control: random times": {"control": "times"},
    "wrong reference: t_start": {"reference": "t_start"},
    "ξ ≥ 0.01": {"xi_min": 0.01},
    "ξ ≥ 0.25": {"xi_min": 0.25},
}


def untuned(n: int = 80, seed: int = 0, factor: float = 2.0) -> list[Population]:
    """n populations of one seed whose tuned parameters are each drawn from 1 / factor to factor times the default, evenly in
    the logarithm: what follows from the form of the model alone. The box is our choice; dt is 0.02 Gyr."""
    rng, base = np.random.default_rng(seed), Population.profile("smoke")
    found = []
    for number in range(n):
        drawn = {name: getattr(base, name) * factor ** rng.uniform(-1, 1) for name in FITTED}
        found.append(base.replace(**drawn | {"p_heat": min(drawn["p_heat"], 1.0)}, seed=seed + number))
    return found


def plan(base: Population | None = None) -> dict[str, Population]:
    """The fiducial population, `base` or by default that of the laptop profile, and its ablations, of 4 seeds at most. For
    `Population.populations`, or for one `lab.sweep`."""
    base = base or Population()
    few = base.replace(seeds=min(base.seeds, ABLATION_SEEDS))
    return {FIDUCIAL: base} | {name: few.replace(**changes) for name, changes in ABLATIONS.items()}
