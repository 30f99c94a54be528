"""Direct simulation Monte Carlo of hard discs in torch, for a GPU: the equation and the units of `dsmc`.

Within each cell the particles are put in random order and neighbours in that order are paired. A cell of n particles
has m = floor(n / 2) such pairs, not n (n - 1) / 2; each collides with n (n - 1) / (2 m) times the probability of a pair
of the gas. No particle is in two pairs, so that all collide at once, without atomic operations. But then none collides
twice in a round, and a gas relaxes too fast, by half the mean number of collisions per particle and round: the time is
split into rounds, each with new pairs, so short that even the fastest pair collides with a probability of at most 1/8.
"""

from __future__ import annotations

import math

import torch

from entropy_utils.boltzmann_gas.dsmc import Simulation, check_particles, hashed
from entropy_utils.lab.errors import ParameterError

LARGEST = 1 / 8  # probability of a collision of a pair in a round


class TorchDSMC(Simulation):
    """The simulation on a `device`, in float64 or float32, reproducible from `seed` on one kind of device.

    x: positions in [0, 1]; vx, vy: velocities; one-dimensional tensors or arrays of one length >= 2, copied. `x`, `vx`,
    `vy` hold the particles as they are now and are changed in place; the other parameters are those of `Simulation`.
    """

    def __init__(
        self, x, vx, vy, kn: float, *, cells: int | None = None, dt: float | None = None, seed: int = 0,
        device: str | torch.device = "cpu", dtype: torch.dtype = torch.float64,
    ):  # fmt: skip
        if dtype not in (torch.float32, torch.float64):
            raise ParameterError.of("dtype", dtype, "torch.float32 or torch.float64")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, TypeError):
            raise ParameterError.of("device", device, "cpu, or cuda where torch finds a GPU") from None
        self.x, self.vx, self.vy = (owned(name, given, device, dtype) for name, given in (("x", x), ("vx", vx), ("vy", vy)))
        check_particles(self.x, self.vx, self.vy)
        super().__init__(len(self.x), kn, cells, dt)
        self._generator = torch.Generator(device).manual_seed(int(hashed(seed)[0]))

    def _move(self, dt: float) -> None:
        self.x += self.vx * dt
        self.x -= 2 * torch.floor(self.x / 2)  # on the ring of length 2 that the box and its mirror image make
        back = self.x > 1
        torch.where(back, 2 - self.x, self.x, out=self.x)
        torch.where(back, -self.vx, self.vx, out=self.vx)

    def _scatter(self, dt: float) -> int:
        cell = (self.x * self.cells).long().clamp_(max=self.cells - 1)
        count = torch.bincount(cell, minlength=self.cells)
        pairs, n = count // 2, count.to(self.x.dtype)
        rate = n * (n - 1) / (2 * pairs.clamp(min=1)) * (self.kappa * self.cells / len(self))  # per relative speed
        fastest = (self.vx**2 + self.vy**2).max().sqrt()
        rounds = max(1, math.ceil(float(rate.max() * 2 * fastest) * dt / LARGEST))
        return sum(self._collide_pairs(cell, count, rate * (dt / rounds)) for _ in range(rounds))

    def _collide_pairs(self, cell: torch.Tensor, count: torch.Tensor, rate: torch.Tensor) -> int:
        """One round: new pairs, each with the probability `rate` of its cell times its relative speed."""
        order, pairs = self._random_order(cell), count // 2
        pair_cell = torch.repeat_interleave(torch.arange(self.cells, device=cell.device), pairs)
        # The k-th pair of all stands at 2 k and 2 k + 1, shifted by the particles left over in the cells before.
        left_over = torch.cumsum(count % 2, 0) - count % 2
        place = 2 * torch.arange(len(pair_cell), device=cell.device) + left_over[pair_cell]
        i, j = order[place], order[place + 1]
        gx, gy = self.vx[i] - self.vx[j], self.vy[i] - self.vy[j]
        hit = self._uniform(len(gx)) < rate[pair_cell] * torch.hypot(gx, gy)
        i, j, gx, gy = i[hit], j[hit], gx[hit], gy[hit]
        b = 2 * self._uniform(len(gx)) - 1
        along = 1 - b * b  # as in dsmc.scatter
        across = b * along.sqrt()
        dx, dy = along * gx - across * gy, along * gy + across * gx
        self.vx[i] -= dx
        self.vy[i] -= dy
        self.vx[j] += dx
        self.vy[j] += dy
        return len(gx)

    def _random_order(self, cell: torch.Tensor) -> torch.Tensor:
        """The particles sorted by cell, at random within each."""
        bits = 63 - self.cells.bit_length()  # below the number of the cell
        key = torch.randint(1 << bits, cell.shape, device=cell.device, generator=self._generator)
        return torch.argsort(key.add_(cell << bits))

    def _uniform(self, n: int) -> torch.Tensor:
        return torch.rand(n, device=self.x.device, dtype=self.x.dtype, generator=self._generator)


def owned(name: str, given, device: str | torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A copy on the device."""
    try:
        return torch.as_tensor(given, dtype=dtype).to(device, copy=True)
    except (TypeError, ValueError, RuntimeError):
        raise ParameterError.of(name, given, "tensor or array of real numbers") from None
