"""The runs of notebook 01, section 3, by profile: named (kind, Knudsen number, seed), for one `lab.sweep`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from entropy_utils.lab.experiment import History

from .expansion import Expansion, KineticExpansion, Observed
from .theory import collision_frequency

WIDTHS = (1.0, 0.5, 0.25, 0.125)  # of the velocity cells
EVERY = (math.inf, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)  # Knudsen numbers; inf: no collisions
SOME = (math.inf, 10.0, 1.0, 0.1)
COMPARED = {1.0: 3.0, 0.1: 1.5}  # Knudsen numbers at which discs meet Boltzmann's equation, and for how long
SPLIT = (10.0, 3.0, 1.0, 0.3, 0.1)
FAR = (5.0, 10.0, 20.0)
MOST = 5_000_000  # particles on a CPU
RATIO = 1.0  # of the rates of free motion and collisions, in `scaling`

Plan = dict[tuple[str, float, int], Observed]


def plan(profile: str, seeds: Iterable[int], discs: Expansion) -> Plan:
    """All runs. gas: Boltzmann's equation from no to many collisions; discs, twin: hard discs like `discs` and Boltzmann's
    equation with as many particles; split: who produced what; scaling: ever larger Kn at one ratio of the rates.
    """
    seeds, smoke = list(seeds), profile == "smoke"
    kinetic = KineticExpansion.profile(profile, dv=WIDTHS)
    kinetic = kinetic.replace(particles=min(kinetic.particles, MOST))
    runs: Plan = {}
    for seed in seeds:
        for kn in SOME if smoke else EVERY:
            runs["gas", kn, seed] = gas(
                kinetic, kn, seed, long=math.isinf(kn) or (not smoke and (kn >= 0.3 or seed == seeds[0]))
            )
        for kn, duration in COMPARED.items():
            same = {"kn": kn, "nx": 32, "dv": WIDTHS[:3], "duration": duration, "records": 15, "seed": seed, "replicas": 1}
            runs["discs", kn, seed] = discs.replace(**same, turn_back_at=0.0, shown=0)
            runs["twin", kn, seed] = KineticExpansion(particles=discs.discs, **same)
        for kn in SPLIT:
            if kn >= 1 or seed == seeds[0]:
                runs["split", kn, seed] = split(20_000 if smoke else 300_000, kn, seed)
        for kn in FAR[:2] if smoke else FAR:
            runs["scaling", kn, seed] = scaling({"smoke": 20_000, "gpu": 1_000_000}.get(profile, 200_000), kn, seed)
    return runs


def gas(kinetic: KineticExpansion, kn: float, seed: int, long: bool) -> KineticExpansion:
    """Boltzmann's equation up to t = 4, or 1; a dense gas, of many steps, with a third of the particles."""
    particles = kinetic.particles if kn >= 0.1 else kinetic.particles // 3
    duration = {"duration": 4.0, "records": 40} if long else {"duration": 1.0, "records": 10}
    return kinetic.replace(kn=None if math.isinf(kn) else kn, seed=seed, particles=particles, **duration)


def split(particles: int, kn: float, seed: int) -> KineticExpansion:
    """Who produced what up to t = 1."""
    return KineticExpansion(particles=particles, kn=kn, split=True, nx=32, duration=1.0, records=10, seed=seed)


def scaling(per_kn: int, kn: float, seed: int) -> KineticExpansion:
    """One collision time at one ratio of the rates. The cells get finer with Kn, so the particles are `per_kn` times Kn."""
    dv = RATIO * float(collision_frequency(kn))
    far = {"kn": kn, "nx": 32, "dv": (dv,), "duration": RATIO / dv, "records": 8}
    return KineticExpansion(particles=round(per_kn * kn), seed=seed, **far)


def merged(histories: Mapping[tuple[str, float, int], History], kind: str, kn: float) -> pd.DataFrame:
    """The records of all seeds of one kind at one Knudsen number."""
    chosen = [history.records for (name, number, _), history in histories.items() if (name, number) == (kind, kn)]
    return pd.concat(chosen, ignore_index=True)
