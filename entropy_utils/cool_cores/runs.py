"""The populations of notebook 03 by name, the variants of the finder, and the ways to date and to control mergers."""

from __future__ import annotations

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


def plan(profile: str = "laptop", seed: int = 0, seeds: int | None = None) -> dict[str, Population]:
    """The fiducial population and its ablations, from `seed` on; `seeds` of each, by default the profile's (ablations: 4 at
    most). For `Population.populations`, or for one `lab.sweep`."""
    base = Population.profile(profile, seed=seed)
    base = base.replace(seeds=seeds or base.seeds)
    few = base.replace(seeds=min(base.seeds, ABLATION_SEEDS))
    return {FIDUCIAL: base} | {name: few.replace(**changes) for name, changes in ABLATIONS.items()}
