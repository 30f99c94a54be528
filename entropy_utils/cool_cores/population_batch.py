"""The population model as one batch of torch tensors, for a GPU: a million clusters at once, all stepped together.

The same equations as `population_steps` with random numbers of torch, so that single histories differ and distributions
agree. In single precision: a step changes ln K by 1e-4 at least where anything happens.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch

from . import merger_rate
from .cooling import C1, C2, C3, cooling_time
from .cosmology import E, age, redshift
from .histories import Histories
from .population import FOF, KNOWN_SNAPSHOTS, LEAST_RATIO, Population, growth_rate
from .population_steps import COOLING_UNIT, MOST_PULSES, core_temperature


@torch.no_grad()
def simulate_batch(population: Population, catalogue: pd.DataFrame | None = None, device: str = "cpu") -> Histories:
    """`population.simulate(catalogue=catalogue)` on a torch device, at TNG's snapshots."""
    q, z, t = population, KNOWN_SNAPSHOTS, age(KNOWN_SNAPSHOTS)
    steps = round((t[-1] - t[0]) / q.dt)
    dt = (t[-1] - t[0]) / steps
    at = np.rint((t - t[0]) / dt).astype(int)
    sample = q.sample(catalogue, np.random.default_rng([q.seed, 3]))
    random = torch.Generator(device).manual_seed(q.seed)
    on_device = {"device": device, "dtype": torch.float32}
    mass, z_form = 10 ** sample.log10_m500c_msun.to_numpy(), sample.z_form.to_numpy()
    lnM0, growth = (torch.as_tensor(values, **on_device) for values in (np.log(mass), growth_rate(z_form)))
    n = len(mass)

    def uniform(size: int = n) -> torch.Tensor:
        return torch.rand(size, generator=random, **on_device)

    lnK = math.log(q.K_start) + q.K_start_dex * math.log(10) * torch.randn(n, generator=random, **on_device)
    on = uniform() < q.rate_on * q.tau_on / (1 + q.rate_on * q.tau_on)
    mixing, window, lag = max(round(q.mixing / dt), 1), max(round(q.boost_tau / dt), 1), int(q.lag / dt)
    heat, heating = _Schedule(n, lag + max(mixing, window) + 1, on_device), torch.zeros(n, **on_device)
    boost, boosting = _Schedule(n, lag + max(mixing, window) + 1, on_device), torch.zeros(n, **on_device)
    ratios = torch.as_tensor(merger_rate.mass_ratios(np.linspace(0, 1, 4097), LEAST_RATIO), **on_device)
    found, seen, pulses = [], [], [torch.zeros(n, **on_device)]
    times = t[0] + dt * np.arange(steps)
    for step, now in enumerate(redshift(times)):
        if step in at:
            seen.append(lnK.cpu().numpy())
            pulses.append(torch.zeros(n, **on_device))
        lnM = lnM0 - growth * now
        mean = dt * merger_rate.merger_rate(FOF, now, LEAST_RATIO) * torch.exp(merger_rate.a * lnM)
        counts = torch.poisson(mean, generator=random).long()
        cluster = torch.repeat_interleave(torch.arange(n, device=device), counts)
        place = uniform(len(cluster)) * 4096
        below = place.long().clamp(max=4095)
        xi = torch.lerp(ratios[below], ratios[below + 1], place - below)
        found.append((cluster.cpu().numpy(), np.full(len(cluster), times[step]), xi.cpu().numpy()))
        heats = uniform(len(cluster)) < -q.p_heat * torch.expm1(-xi / q.xi_heat)
        begin, row = (uniform(len(cluster)) * q.lag / dt).long()[heats], cluster[heats]
        jump = -q.jump * torch.log1p(-uniform(len(row)))
        heat.add(step + begin, row, jump / mixing, mixing)
        boost.add(step + begin, row, torch.ones_like(jump), window)
        heating, boosting = (heating + heat.take(step)).clamp(min=0), boosting + boost.take(step)
        ln_kT = math.log(6.74) + 0.48 * (lnM - 14.6 * math.log(10)) + 0.10 * (lnK - math.log(100))
        kT = torch.exp(ln_kT)
        t_cool = COOLING_UNIT * kT * torch.exp(1.5 * (lnK - ln_kT)) / (C1 * kT**-1.7 + C2 * kT.sqrt() + C3)
        ceiling = q.ceiling * 375 * float(E(now)) ** (-2 / 3) * torch.exp((2 / 3) * (lnM - 14 * math.log(10)))
        free = (1 - torch.exp(lnK) / ceiling).clamp(0, 1)
        change = heating * free
        if q.cooling:
            change = change - dt / t_cool
        if q.agn:
            u = uniform()
            on = torch.where(on, u >= dt / q.tau_on, u < (q.rate_on + q.boost_rate * (boosting > 0.5)) * dt)
            g = torch.where(on, q.g_on, q.g_off) + torch.exp(-1.5 * (lnK - math.log(q.K_floor)))
            count = torch.poisson((g * dt / (q.pulse * t_cool)).clamp(max=MOST_PULSES), generator=random)
            change = change + q.pulse * count * free
            pulses[-1] += count
        lnK = (lnK + change).clamp(min=math.log(q.K_min))
    seen.append(lnK.cpu().numpy())
    noise = q.noise * math.log(10) * np.random.default_rng([q.seed, 4]).standard_normal((n, len(t)))
    K0 = np.exp(np.stack(seen, axis=1).astype(float) + noise)
    then = mass[:, None] * np.exp(-growth_rate(z_form)[:, None] * z)
    cluster, when, xi = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return Histories(
        halo_id=np.arange(n), t=t, z=z, K0=K0, t_cool=cooling_time(K0, core_temperature(then, K0)), m500c=mass,
        z_form=z_form, pulses=torch.stack(pulses[1:], 1).cpu().numpy(),
        mergers=pd.DataFrame({"cluster": cluster, "t": when, "xi": xi}),
    )  # fmt: skip


class _Schedule:
    """What begins and ends in the coming steps, as changes of a rate: a ring of steps, (length, n)."""

    def __init__(self, n: int, length: int, on_device: dict):
        self.change = torch.zeros(length, n, **on_device)

    def add(self, step: torch.Tensor, row: torch.Tensor, rate: torch.Tensor, steps: int) -> None:
        """Raise the rate of `row` from `step` on, for `steps` steps."""
        for begin, sign in ((step, 1), (step + steps, -1)):
            self.change.index_put_((begin % len(self.change), row), sign * rate, accumulate=True)

    def take(self, step: int) -> torch.Tensor:
        """The change of the rates at this step, which is then forgotten."""
        place = step % len(self.change)
        change = self.change[place].clone()
        self.change[place] = 0
        return change
