"""The experiments of notebook 01: a gas let out of the left half of a box, and the entropy that different eyes see.

Two ways to move the same gas. `Expansion` follows hard discs by their mechanics (`dynamics`). `KineticExpansion` follows
Boltzmann's equation (`dsmc`), or free motion, where every particle keeps its velocity. Both record the gain of entropy
per particle since the start, in nats, seen with velocity cells of several widths.

Units: m = k_B = T = 1, box length 1, time in L / v_th; Kn is the mean free path at the FINAL density in box lengths.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from entropy_utils.lab.experiment import Experiment, Record

from .calendar_dynamics import CalendarDiscs
from .coarse_graining import Cells, entropy, hydrodynamic_entropy_of
from .dsmc import DSMC
from .dynamics import HardDiscs, maxwellian, place
from .free_streaming import start
from .theory import diameter, packing_fraction

DENSE = 2.0  # mean free path in mean distances between discs, about; measured: see the bench of hard discs
CROWDED = 0.45  # packing fraction of the filled half; random placement finds no room from about 0.5 on
Width = Annotated[float, Field(gt=0, le=100)]
TIME = {"unit": "L / v_th"}


class Observed(Experiment):
    """What both experiments share: the observer's cells, the times of observation, and the seeds."""

    duration: float = Field(1.5, gt=0, le=1000, description="length of the run", json_schema_extra=TIME)
    records: int = Field(30, ge=1, le=100_000, description="observations, evenly spaced, besides the start")
    nx: int = Field(32, ge=2, le=10_000, description="position cells of the observer, an even number")
    dv: tuple[Width, ...] = Field(
        (1.0, 0.5, 0.25),
        min_length=1,
        description="widths of the velocity cells along x",
        json_schema_extra={"unit": "v_th"},
    )
    dvy: float = Field(1.0, gt=0, le=100, description="width along y", json_schema_extra={"unit": "v_th"})
    replicas: int = Field(1, ge=1, le=1000, description="seeds, one after the other")

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        self.cells()
        return self

    def length(self) -> int:
        return (self.records + 1) * self.replicas

    def cells(self) -> dict[float, Cells]:
        """The observer's cells by their width."""
        return {dv: Cells(nx=self.nx, dv=float(dv), dvy=self.dvy) for dv in self.dv}

    def times(self) -> np.ndarray:
        """When the gas is looked at, (records + 1,), from 0 to the duration."""
        return np.linspace(0, self.duration, self.records + 1)


class Observer:
    """Gains of entropy since it was made, with every width of the velocity cells, and the hydrodynamic one."""

    def __init__(self, experiment: Observed, x, vx, vy):
        self.cells, self.nx = experiment.cells(), experiment.nx
        self.first = self.entropies(x, vx, vy)

    def entropies(self, x, vx, vy) -> dict[str, float]:
        seen = {f"gain_{dv:g}": entropy(cells.occupations(x, vx, vy)) for dv, cells in self.cells.items()}
        return seen | {"gain_hydrodynamic": hydrodynamic_entropy_of(x, vx, vy, self.nx)}

    def gains(self, x, vx, vy) -> dict[str, float]:
        return {name: value - self.first[name] for name, value in self.entropies(x, vx, vy).items()}


class Expansion(Observed):
    """Hard discs expand from the left half of a square box.

    Records, per seed and time: `gain_<dv>`, entropy gained per disc (nats, Miller-Madow) with velocity cells of that width;
    `gain_hydrodynamic`, of the local equilibrium with the same density and temperature; `left`, share of the discs in the
    left half; `collisions` per disc; `energy_error`, relative; and, if `shown` is not 0, `snapshot`: see `snapshot`.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"discs": 4000, "duration": 1.0, "records": 10},
        "laptop": {},
        "gpu": {"discs": 1_000_000, "records": 60},
    }

    discs: int = Field(100_000, ge=2, le=20_000_000, description="discs N", json_schema_extra={"scale": "log"})
    kn: float = Field(
        1.0, gt=0, le=1e6, description="Knudsen number at the final density", json_schema_extra={"scale": "log"}
    )
    turn_back_at: float = Field(
        0.0, ge=0, le=1000, description="reverse all velocities at this time; 0: never", json_schema_extra=TIME
    )
    shown: int = Field(0, ge=0, le=100_000, description="discs whose places are recorded as text")

    @model_validator(mode="after")
    def _room_for_all(self) -> Self:
        crowd = packing_fraction(self.discs, self.sigma, 0.5)
        if crowd > CROWDED:
            raise ValueError(
                f"discs {self.discs} at kn {self.kn:g} fill {crowd:.2g} of their half, allowed: at most {CROWDED}; take a "
                "larger kn or more discs"
            )
        if self.turn_back_at >= self.duration:
            raise ValueError(f"turn_back_at {self.turn_back_at:g}, allowed: below duration {self.duration:g}")
        return self

    @property
    def sigma(self) -> float:
        """Diameter of the discs."""
        return float(diameter(self.discs, self.kn))

    def gas(self, seed: int) -> HardDiscs | CalendarDiscs:
        """The discs at the start: random places in the left half, Maxwellian velocities of temperature exactly 1.

        In the engine that is faster: by calendar where a disc collides more often than it changes cells.
        """
        rng = np.random.default_rng(seed)
        centres = place(self.discs, self.sigma, rng, width=0.5)
        engine = CalendarDiscs if self.kn * math.sqrt(self.discs) < DENSE else HardDiscs
        return engine(*centres.T, *maxwellian(self.discs, rng), self.sigma)

    def run(self) -> Iterator[Record]:
        for seed in range(self.seed, self.seed + self.replicas):
            gas = self.gas(seed)
            observer, energy, turned = Observer(self, gas.x, gas.vx, gas.vy), gas.energy, not self.turn_back_at
            for time in self.times():
                if not turned and time >= self.turn_back_at:
                    gas.run(self.turn_back_at - gas.time)
                    gas.reverse()
                    turned = True
                gas.run(max(time - gas.time, 0.0))
                x, vx, vy = gas.x, gas.vx, gas.vy
                record = {"seed": seed, "time": float(time), **observer.gains(x, vx, vy), "left": (x < 0.5).mean()}
                record |= {"collisions": 2 * gas.collisions / self.discs, "energy_error": gas.energy / energy - 1}
                if self.shown:
                    record["snapshot"] = packed(x[: self.shown], gas.y[: self.shown], vx[: self.shown])
                yield record


class KineticExpansion(Observed):
    """Boltzmann's equation for the same expansion, by DSMC; without collisions, free motion, which is exact.

    Records, per seed and time: the gains as in `Expansion`; `collisions` per particle; and with `split`, for every width,
    `streaming_<dv>` and `collisional_<dv>`: the parts that free motion and collisions added, which sum to the gain.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"particles": 200_000, "duration": 1.0, "records": 10},
        "laptop": {},
        "gpu": {"particles": 20_000_000},
    }

    particles: int = Field(1_000_000, ge=2, le=10**9, description="particles N", json_schema_extra={"scale": "log"})
    kn: float | None = Field(1.0, gt=0, le=1e6, description="Knudsen number at the final density; None: no collisions")
    split: bool = Field(False, description="tell what streaming and what collisions add (looks at the gas in every step)")
    nx: int = Field(64, ge=2, le=10_000, description="position cells of the observer, an even number")

    @property
    def knudsen(self) -> float:
        return math.inf if self.kn is None else self.kn

    def run(self) -> Iterator[Record]:
        for seed in range(self.seed, self.seed + self.replicas):
            gas = DSMC(*self.start(seed), self.knudsen, seed=seed)
            observer, parts = Observer(self, gas.x, gas.vx, gas.vy), {}
            for time in self.times():
                if self.split:
                    self.run_in_parts(gas, float(time) - gas.time, observer, parts)
                else:
                    gas.run(max(float(time) - gas.time, 0.0))
                record = {"seed": seed, "time": float(time), **observer.gains(gas.x, gas.vx, gas.vy), **parts}
                yield record | {"collisions": 2 * gas.collisions / self.particles}

    def start(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, vx, vy of the particles at the start, of temperature exactly 1."""
        x, *v = start(self.particles, np.random.default_rng(seed))
        scale = math.sqrt(2 * self.particles / sum((component**2).sum() for component in v))
        return x, v[0] * scale, v[1] * scale

    def run_in_parts(self, gas: DSMC, duration: float, observer: Observer, parts: dict[str, float]) -> None:
        """Run in steps of half the streaming, the collisions, the other half; add to `parts` what each of them gained.

        The entropy is looked at between them, so the parts telescope: their sum is the gain.
        """
        names = {name: name.removeprefix("gain_") for name in observer.first if name != "gain_hydrodynamic"}
        for width in names.values():
            parts.setdefault(f"streaming_{width}", 0.0)
            parts.setdefault(f"collisional_{width}", 0.0)
        steps = max(math.ceil(duration / gas.dt - 1e-9), 0)
        for _ in range(steps):
            before = observer.entropies(gas.x, gas.vx, gas.vy)
            gas.stream(duration / steps / 2)
            streamed = observer.entropies(gas.x, gas.vx, gas.vy)
            gas.collide(duration / steps)
            collided = observer.entropies(gas.x, gas.vx, gas.vy)
            gas.stream(duration / steps / 2)
            after = observer.entropies(gas.x, gas.vx, gas.vy)
            for name, width in names.items():
                parts[f"streaming_{width}"] += streamed[name] - before[name] + after[name] - collided[name]
                parts[f"collisional_{width}"] += collided[name] - streamed[name]


FULL = 65535  # of the whole numbers in a snapshot
FASTEST = 6.0


def packed(x, y, vx) -> str:
    """Places (0 to 1) and velocities (-6 to 6) of some discs as text, 16 bits each: records hold no arrays."""
    scaled = np.stack([x, y, np.clip(vx / FASTEST, -1, 1) / 2 + 0.5])
    return base64.b64encode(np.rint(scaled * FULL).astype("<u2").tobytes()).decode("ascii")


def snapshot(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y, vx of the discs in a record's `snapshot`, to 4 digits."""
    x, y, vx = np.frombuffer(base64.b64decode(text), "<u2").reshape(3, -1) / FULL
    return x, y, (vx - 0.5) * 2 * FASTEST
