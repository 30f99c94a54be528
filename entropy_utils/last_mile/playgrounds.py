"""The pictures of notebook 02 that sliders move: small vectors, one route, formulas, or tours computed beforehand."""

from __future__ import annotations

from functools import cache

import numpy as np
from matplotlib.figure import Figure
from scipy.special import gammaln

from entropy_utils.information import log_factorial
from entropy_utils.lab.experiment import collect

from . import consolidation_plots, maps
from .distances import plane
from .route_table import NO_ZONE, Route
from .scenarios import Distances
from .spatial import Outcome, break_even_chaining, consolidate
from .spatial import pick_up_points as nearest_points
from .structural_entropy import boltzmann_entropy, bounds, evenness, normalised_entropy, shannon_bounds
from .temporal import entropy_ratio, events_ratio, pooling_table
from .tours import shortest_tour, tour_length

BLUE, RED, GREEN, PINK, ORANGE = maps.COLOURS[:5]
GREY = maps.GREY
DAYS, ADDRESSES = 60, 2000  # of the simulated demand


def loads(N: int, M: int, concentration: float) -> np.ndarray:
    """N parcels on M stops (at most N), at least one each; the rest falls off as a power of the stop's number."""
    M = min(M, N)
    share = np.arange(1, M + 1.0) ** -concentration
    share *= (N - M) / share.sum()
    n = 1 + np.floor(share).astype(int)
    n[np.argsort(np.floor(share) - share, kind="stable")[: N - n.sum()]] += 1
    return n


def fragmentation(fig: Figure, N: int, M: int, concentration: float) -> None:
    """Play 1. Loads of the stops; S between its bounds at this N and M, and between those that Shannon's N H gives."""
    left, right = fig.subplots(1, 2)
    n = loads(N, M, concentration)
    M = len(n)
    left.vlines(np.arange(1, M + 1), 0, n, color=BLUE, linewidth=min(10.0, 150 / M))
    left.set(xlabel="stop", ylabel="parcels n", ylim=(0, 1.05 * n.max()), xlim=(0, M + 1))
    left.locator_params("x", integer=True, nbins=6)
    left.set_title(f"N = {N}, M = {M}, largest load {n.max()}")
    S, ceiling = boltzmann_entropy(n), float(log_factorial(N))
    lines = {
        "ln N!": (0, ceiling, GREY),
        "any loads of this N, M": (*bounds(N, M), GREEN),
        "from N H, eq. 3": (*shannon_bounds(n), ORANGE),
    }
    for row, (low, high, colour) in enumerate(lines.values()):
        right.plot([low, high], [row, row], "|-", color=colour, linewidth=4, markersize=14, markeredgewidth=2)
    right.plot(S, len(lines), "o", color=RED, markersize=9)
    right.axvline(S, color=RED, linewidth=1)
    right.axvline(0, color="0.8", linewidth=1)
    right.set_yticks(range(len(lines) + 1), [*lines, "S of these loads"])
    right.set(xlabel="entropy (nats)", ylim=(-0.5, len(lines) + 0.5))
    right.set_title(f"S = {S:.4g}, η = {normalised_entropy(n):.3f}, J = {evenness(n):.3f}")


def pick_up_points(fig: Figure, route: Route, alpha: float, K: int, chi: float) -> None:
    """Play 2. One route's map, its entropies before and after, and the total against the chaining share with chi*."""
    grid = fig.add_gridspec(2, 2, width_ratios=[1.05, 1])
    ax, bars, curve = fig.add_subplot(grid[:, 0]), fig.add_subplot(grid[0, 1]), fig.add_subplot(grid[1, 1])
    point, adopts, outcome, trips = _consolidated(route, alpha, K, chi)
    maps.pick_up_points(ax, route, point, adopts)
    ax.set_title(f"{adopts.sum()} of {len(adopts)} stops fetch, {trips} trips")
    consolidation_plots.balance(bars, outcome)
    shift, total = (100 * (value / outcome.before - 1) for value in (outcome.carrier, outcome.total))
    bars.set_title(f"carrier {shift:+.0f} %, total {total:+.0f} %")
    N, a = route.n.sum(), adopts.sum()
    even, share = float(break_even_chaining(N, a, outcome.customer)), np.linspace(0, 1, 51)
    change = gammaln(N + (1 - share) * a + 1) - gammaln(N + 1) - outcome.customer
    curve.plot(share, change, color=BLUE)
    curve.axhline(0, color="black", linestyle="--", linewidth=1)
    curve.plot(even, 0 if 0 < even < 1 else change[0 if even == 0 else -1], "D", color=GREEN, markersize=8)
    curve.plot(chi, outcome.total - outcome.before, "o", color=RED, markersize=9)
    curve.set(xlabel="chaining share χ", ylabel="total − before (nats)", xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
    bars.locator_params("x", nbins=4)  # every tick costs a millisecond
    curve.locator_params("y", nbins=4)
    curve.set_title(f"break-even χ* = {even:.2f}" if a else "nobody adopts: nothing changes")


def opening(fig: Figure, route: Route, alpha: float, K: int) -> None:
    """One route as it is driven, with `K` pick-up points, and its entropies before and after if all adopters drive."""
    whole, points, bars = fig.subplots(1, 3, width_ratios=[0.9, 0.7, 1.1])
    maps.driven_route(whole, route, labels=False)
    whole.set_title(f"{route.n.sum()} parcels, {len(route.n)} stops")
    whole.legend(loc="best", fontsize=8)
    point, adopts, outcome, trips = _consolidated(route, alpha, K, 0.0)
    maps.pick_up_points(points, route, point, adopts)
    points.set_title(f"{K} pick-up points, {trips} trips")
    consolidation_plots.balance(bars, outcome)
    shift, total = (100 * (value / outcome.before - 1) for value in (outcome.carrier, outcome.total))
    bars.set_title(f"carrier {shift:+.0f} %, total {total:+.0f} %")


def _consolidated(route: Route, alpha: float, K: int, chi: float) -> tuple[np.ndarray, np.ndarray, Outcome, int]:
    """Points, adopters, entropies and the number of trips; adopters and trips only ever grow with a slider."""
    rng, M = np.random.default_rng(0), len(route.n)
    rank = rng.permutation(M)
    adopts = rank < round(alpha * M)
    travels = adopts & (rank < round((1 - chi) * adopts.sum()))
    point = nearest_points(plane(route.lat, route.lng), min(K, M), 0)
    return point, adopts, consolidate(route.n, point, adopts, travels.astype(int)), int(travels.sum())


_pooled = cache(lambda rate, w: pooling_table([rate], [w], DAYS, ADDRESSES).iloc[0])


def pooled_days(fig: Figure, rate: float, w: int) -> None:
    """Play 3. Delivery events and entropies against the days pooled, by formula; dots: a simulated town."""
    ax = fig.subplots()
    found, grid = _pooled(rate, w), np.linspace(1, 14, 66)
    daily = DAYS * ADDRESSES * -np.expm1(-rate)
    events = events_ratio(rate, grid)
    curves = {
        "delivery events E": (events, found.events, BLUE),
        "their orders, ln E!": (gammaln(events * daily + 1) / gammaln(daily + 1), found.order, GREEN),
        "parcels over events, S": (entropy_ratio(rate, grid, found.parcels), found.entropy, RED),
    }
    for name, (curve, dot, colour) in curves.items():
        ax.plot(grid, curve, color=colour, label=f"{name}: {dot - 1:+.1%}")
        ax.plot(w, dot, "o", color=colour, markersize=8)
    ax.set(xlabel="days pooled w", ylabel="ratio to daily delivery", ylim=(0, 1.08), xlim=(0.7, 14.3))
    ax.set_title(f"{rate:g} parcels per address and day; {found.parcels:,.0f} parcels to {ADDRESSES:,} addresses")
    ax.legend(loc="lower left")


@cache
def _tours() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stops M, entropy S (nats) and length over sqrt(area) of tours through uniform stops."""
    found = collect(Distances(tours=60, starts=2, area=1.0), progress=False).records
    found = found[found.setting == "area"]
    return tuple(found[column].to_numpy() for column in ("stops", "entropy", "local"))


def _slope(x, y):
    """Least-squares slope of rows y on x."""
    away = x - x.mean()
    return y @ away / (away @ away)


def distance_scaling(fig: Figure, setting: str, area: float, stem: float) -> None:
    """Play 4. Length of tours against S, and the fitted exponent against the way to the station. `setting`: "fixed area" or
    "fixed density"; area (km²) is that of 148 stops there; stem in km.
    """
    left, right = fig.subplots(1, 2)
    M, S, unit = _tours()
    stems = np.linspace(0, 40, 81)
    for name, colour in (("fixed area", BLUE), ("fixed density", RED)):
        local = unit * np.sqrt(area * (M / 148 if name == "fixed density" else 1))
        slopes = _slope(np.log(S), np.log(local + 2 * stems[:, None]))
        right.plot(stems, slopes, color=colour, label=name)
        if name == setting:
            D = local + 2 * stem
            b = _slope(np.log(S), np.log(D))
            line = np.exp(np.log(D).mean() + b * (np.log(S) - np.log(S).mean()))
            left.loglog(S, D, "o", color=colour, markersize=4, alpha=0.7)
            left.loglog(S, line, color="black", linewidth=1.2)
            left.set_title(f"{name}: D ~ S^{b:.2f}")
            right.plot(stem, b, "o", color=colour, markersize=9)
    for ticks, set_ticks in (((200, 500, 1000, 2000), left.set_xticks), ((10, 20, 50, 100, 200), left.set_yticks)):
        set_ticks(ticks, [f"{tick}" for tick in ticks])
    left.minorticks_off()
    left.set(xlabel="S (nats)", ylabel="tour and stem D (km)", xlim=(120, 2200), ylim=(8, 300))
    right.set(xlabel="stem (km)", ylabel="exponent b", ylim=(0, 0.9), xlim=(-1, 41))
    right.legend(loc="upper right")


def zone_order(fig: Figure, route: Route, zone_by_zone: bool, order: str) -> None:
    """Play 5. How many orders of the stops there are, all or zone by zone; one of them, `order` "at random" or "short"."""
    ax, bars = fig.subplots(1, 2, width_ratios=[1.2, 1])
    inside = route.zone != NO_ZONE
    xy, zone = plane(route.lat[inside], route.lng[inside]), route.zone[inside]
    visits = _short(xy, zone, zone_by_zone) if order == "short" else _random(zone, zone_by_zone)
    maps.tour(ax, xy, visits)
    ax.scatter(*xy.T, s=12, c=maps.zone_colours(zone), zorder=2, linewidths=0)
    maps.scale_bar(ax, xy)
    ax.set_title(f"{'zone by zone' if zone_by_zone else 'any order'}: {tour_length(xy, visits):.0f} km")
    sizes = np.unique(zone, return_counts=True)[1]
    heights = float(log_factorial(len(zone))), float(log_factorial(len(sizes)) + log_factorial(sizes).sum())
    for place, (height, colour) in enumerate(zip(heights, (BLUE, GREEN), strict=True)):
        chosen = place == int(zone_by_zone)
        bars.vlines(place, 0, height, color=colour, linewidth=60, alpha=1 if chosen else 0.35)
        bars.text(place, height, f"{height:.0f}", ha="center", va="bottom", fontweight="bold" if chosen else "normal")
    bars.set_xticks([0, 1], ["any order:\nln M!", "zone by zone:\nln Z! + Σ ln m!"])
    bars.set(ylabel="log of the number of orders (nats)", xlim=(-0.6, 1.6), ylim=(0, 1.1 * heights[0]), xlabel="")
    bars.grid(False)
    bars.set_title(f"M = {len(zone)}, Z = {len(sizes)}: {heights[1] / heights[0]:.0%} is left")


def _random(zone, zone_by_zone: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(zone))
    if not zone_by_zone:
        return shuffled
    turn = rng.permutation(zone.max() + 1)
    return shuffled[np.argsort(turn[zone[shuffled]], kind="stable")]


def _short(xy, zone, zone_by_zone: bool) -> np.ndarray:
    """A short tour; zone by zone: a short tour of the zones' middles, and the nearest stop next inside each."""
    if not zone_by_zone:
        return shortest_tour(xy, 2)
    zones = np.unique(zone)
    middles = np.array([xy[zone == z].mean(0) for z in zones])
    visits: list[int] = []
    for z in zones[shortest_tour(middles, 8)] if len(zones) > 1 else zones:
        left = np.flatnonzero(zone == z).tolist()
        while left:
            here = xy[visits[-1]] if visits else xy[left[0]]
            visits.append(left.pop(int(np.hypot(*(xy[left] - here).T).argmin())))
    return np.array(visits)
