"""Balls over cells: reversible moves, and an entropy that grows all the same (the urn of Ehrenfest, many cells).

N numbered balls lie in M cells in a ring, at first all in cell 0. A move picks one ball at random and carries it 1 to
M - 1 cells on, every distance as likely: to any other cell. With M = 2 this is the urn model of P. and T. Ehrenfest
(1907). Each move is a permutation of the M^N microstates and can be undone, so nothing is ever forgotten.

Sources: Ehrenfest and Ehrenfest 1907; Kac 1947, Amer. Math. Monthly 54, 369, for the mean and its decay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field, model_validator

from entropy_utils import information
from entropy_utils.lab.experiment import Experiment, Record

MOST = 100_000_000  # balls held in memory


class Mixing(Experiment):
    """Mix `balls` over `cells` in several replicas (seeds seed, seed + 1, ...); time is in sweeps of N moves.

    Records, per replica: `sweep`; `ln_w` = ln W / N and `shannon` = H of the shares n_k / N, in nats per ball;
    `stirling` = H - ln W / N; `away`, the number of balls that are not in cell 0; `fluctuation`, the mean over cells
    of (n_k - N/M)^2 in units of what N independent draws give, (N/M)(1 - 1/M); `expected_first`, the exact mean of
    the share in cell 0.
    """

    profiles: ClassVar[dict[str, dict]] = {
        "smoke": {"balls": 2000, "sweeps": 60, "replicas": 5},
        "laptop": {},
        "gpu": {"balls": 200_000, "replicas": 16},
    }

    balls: int = Field(20_000, ge=10, le=10_000_000, description="balls N", json_schema_extra={"scale": "log"})
    cells: int = Field(16, ge=2, le=10_000, description="cells M", json_schema_extra={"scale": "log"})
    sweeps: int = Field(200, ge=1, le=100_000, description="length of the run", json_schema_extra={"unit": "sweeps"})
    records_per_sweep: int = Field(10, ge=1, le=1000, description="records per sweep")
    turn_back_after: int = Field(
        0, ge=0, le=100_000, description="from here on moves are undone, last first; 0: never",
        json_schema_extra={"unit": "sweeps"},
    )  # fmt: skip
    replicas: int = Field(8, ge=1, le=1000, description="seeds run side by side")

    @model_validator(mode="after")
    def _fits(self):
        if self.turn_back_after > self.sweeps:
            raise ValueError(f"turn_back_after {self.turn_back_after} is beyond sweeps {self.sweeps}")
        if self.balls * self.replicas > MOST:
            raise ValueError(f"balls times replicas is {self.balls * self.replicas}, allowed: at most {MOST}")
        return self

    def length(self) -> int:
        return (self.sweeps * self.records_per_sweep + 1) * self.replicas

    def moves_before(self, record: int) -> int:
        """Moves made before a record; N per sweep, in steps as equal as whole moves can be."""
        return record * self.balls // self.records_per_sweep

    def moves(self, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The balls picked in a step and how many cells each is carried on: the same whenever they are asked for."""
        rng = np.random.default_rng([seed, abs(step), step < 0])
        size = self.moves_before(abs(step) + 1) - self.moves_before(abs(step))
        return rng.integers(self.balls, size=size), rng.integers(1, self.cells, size=size)

    def run(self) -> Iterator[Record]:
        cell = np.zeros((self.replicas, self.balls), dtype=np.int64)
        turn = self.turn_back_after * self.records_per_sweep
        for record in range(self.sweeps * self.records_per_sweep + 1):
            for replica in range(self.replicas if record else 0):
                if turn and record > turn:
                    ball, far = self.moves(self.seed + replica, 2 * turn - record)
                    far = -far
                else:
                    ball, far = self.moves(self.seed + replica, record - 1)
                np.add.at(cell[replica], ball, far)
                cell[replica, ball] %= self.cells
            yield from self.look(record, cell)

    def look(self, record: int, cell: np.ndarray) -> Iterator[Record]:
        """One record per replica of what can be seen: how many balls lie where, not which."""
        offset = self.cells * np.arange(self.replicas)[:, None]
        counts = np.bincount((cell + offset).ravel(), minlength=self.cells * self.replicas).reshape(-1, self.cells)
        ln_w, shannon = information.exact_factorial_entropy(counts), information.plug_in_entropy(counts)
        spread = (counts - self.balls / self.cells) ** 2
        fluctuation = spread.mean(-1) / (self.balls / self.cells * (1 - 1 / self.cells))
        moves = self.moves_before(record)
        expected = self.expected_first(moves) if not self.turn_back_after else None
        for replica in range(self.replicas):
            yield {
                "seed": self.seed + replica,
                "sweep": moves / self.balls,
                "ln_w": ln_w[replica],
                "shannon": shannon[replica],
                "stirling": shannon[replica] - ln_w[replica],
                "away": self.balls - counts[replica, 0],
                "fluctuation": fluctuation[replica],
                "expected_first": expected,
            }

    def relaxation_sweeps(self) -> float:
        """The time in which the mean surplus falls by e, in sweeps: near (M - 1) / M for many balls."""
        return -1 / (self.balls * np.log1p(-self.cells / ((self.cells - 1) * self.balls)))

    def expected_first(self, moves):
        """Exact mean share of the balls in cell 0 after so many moves: 1/M + (1 - 1/M)(1 - M / ((M - 1) N))^moves."""
        decay = (1 - self.cells / ((self.cells - 1) * self.balls)) ** np.asarray(moves, float)
        return (1 / self.cells + (1 - 1 / self.cells) * decay)[()]

    def expected_shannon(self, moves):
        """H in nats of the mean shares after so many moves: what ln W / N follows when N is large."""
        first = np.asarray(self.expected_first(moves))
        which_half = information.shannon_entropy(np.stack([first, 1 - first], axis=-1))
        return which_half + (1 - first) * np.log(self.cells - 1)  # the other cells are alike: the chain rule

    def fitted_relaxation(self, records):
        """Relaxation time in sweeps per seed, from the first 1.5 sweeps of `records` (a DataFrame of `run`).

        Least squares for a line through the origin in the logarithm of the surplus of cell 0.
        """
        early = records[(records.sweep > 0) & (records.sweep <= 1.5)]
        surplus = (1 - early.away / self.balls - 1 / self.cells) / (1 - 1 / self.cells)
        products = early.assign(tt=early.sweep**2, ty=early.sweep * np.log(surplus.clip(lower=1e-9)))
        sums = products.groupby("seed")[["tt", "ty"]].sum()
        return -sums.tt / sums.ty
