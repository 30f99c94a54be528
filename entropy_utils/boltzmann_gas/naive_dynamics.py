"""Hard discs as one would first write them: find the next event among all pairs, move everyone there, repeat.

The readable reference of `dynamics.HardDiscs`, with the same box: N^2 work per event, for a hundred discs.
"""

from __future__ import annotations

import numpy as np

from .dynamics import Collisions, check_discs


class NaiveDiscs:
    """As `dynamics.HardDiscs`, slowly: x, y, vx, vy (N,), diameter sigma, walls at x = 0 and 1, y periodic."""

    def __init__(self, x, y, vx, vy, sigma: float, height: float = 1.0):
        self.r = np.column_stack([x, y]).astype(float)
        self.v = np.column_stack([vx, vy]).astype(float)
        check_discs(*self.r.T, *self.v.T, sigma=sigma, height=height)
        self.sigma, self.height, self.time = sigma, height, 0.0
        self.met: set[tuple[int, int]] = set()  # the pair that has just collided

    def run(self, duration: float) -> Collisions:
        """Move on by `duration`; returns the collisions."""
        end, log = self.time + duration, []
        while True:
            wall, pair = self.time_to_wall(), self.time_to_contact()
            first = min(wall.min(), pair.min())
            if self.time + first >= end:
                self.move(end - self.time)
                return (
                    Collisions(*(np.array(column) for column in zip(*log, strict=True))) if log else Collisions([], [], [])
                )
            self.move(first)
            if wall.min() <= pair.min():
                self.v[wall.argmin(), 0] *= -1
                self.met = set()
            else:
                i, j = divmod(int(pair.argmin()), len(self.r))
                self.bounce(i, j)
                self.met = {(i, j), (j, i)}
                log.append((self.time, i, j))

    def move(self, duration: float) -> None:
        self.r += self.v * duration
        self.r[:, 1] %= self.height
        self.time += duration

    def time_to_wall(self) -> np.ndarray:
        """Time until each disc reaches the wall that it moves to, (N,)."""
        x, u = self.r[:, 0], self.v[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(u > 0, (1 - x) / u, np.where(u < 0, -x / u, np.inf))

    def time_to_contact(self) -> np.ndarray:
        """Time until discs i and j touch, (N, N), infinite if they never do: |dr + dv t| = sigma, over three images in y."""
        dv = self.v[None] - self.v[:, None]
        v2 = (dv**2).sum(-1)
        times = np.full((len(self.r), len(self.r)), np.inf)
        for image in (-self.height, 0.0, self.height):
            dr = self.r[None] - self.r[:, None] + np.array([0.0, image])
            b, c = (dr * dv).sum(-1), (dr**2).sum(-1) - self.sigma**2
            root = b**2 - v2 * c
            meets = (b < 0) & (root > 0) & (v2 > 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                times = np.where(meets, np.minimum(times, (-b - np.sqrt(np.where(meets, root, 0))) / v2), times)
        for i, j in self.met:
            times[i, j] = np.inf  # rounding may leave the two a little too close; they separate
        return np.maximum(times, 0)

    def bounce(self, i: int, j: int) -> None:
        """Elastic collision: the velocities along the line of the centres are exchanged."""
        d = self.r[j] - self.r[i]
        d[1] -= self.height * round(d[1] / self.height)
        k = d / np.linalg.norm(d)
        exchange = (self.v[j] - self.v[i]) @ k * k
        self.v[i] += exchange
        self.v[j] -= exchange
