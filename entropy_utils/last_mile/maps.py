"""Routes on their coordinates, in km around their middle: zones in colour, pick-up points, driven and shortest tours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from entropy_utils.lab.errors import ParameterError

from .distances import plane
from .route_table import NO_ZONE, Route, RouteTable
from .tours import shortest_tour, tour_length

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "0.25")
GREY, HALO = "0.45", [withStroke(linewidth=2.5, foreground="white")]


def routes(fig: Figure, chosen: Sequence[Route], labels: bool = True) -> None:
    """One panel per route: the driven order as a line, stops in the colours of their zones, larger with more parcels."""
    columns = min(len(chosen), 3)
    axes = fig.subplots(-(-len(chosen) // columns), columns, squeeze=False).ravel()
    for ax, one in zip(axes, chosen, strict=False):
        driven_route(ax, one, labels)
        zones = len(set(one.zone.tolist()) - {NO_ZONE})
        ax.set_title(f"{one.station_code}: {one.n.sum()} parcels,\n{len(one.n)} stops, {zones} zones")
    axes[0].legend(loc="best", fontsize=8)
    for ax in axes[len(chosen) :]:
        ax.set_axis_off()


def driven_route(ax: Axes, route: Route, labels: bool = True) -> None:
    """The driven order from the first to the last stop; `labels` numbers the zones in the order they are reached."""
    xy = plane(route.lat, route.lng)
    ax.plot(*xy.T, color="0.6", linewidth=0.8, zorder=1)
    ax.scatter(*xy.T, s=10 + 7 * np.sqrt(route.n - 1), c=zone_colours(route.zone), zorder=2, linewidths=0)
    for name, at in (("first stop", 0), ("last stop", -1)):
        ax.plot(*xy[at], marker="^" if at == 0 else "s", color="black", markersize=6, linestyle="", label=name, zorder=3)
    if labels:
        for number, zone in enumerate(_zones_in_order(route.zone), 1):
            own = xy[route.zone == zone]
            look = {"fontsize": 7, "ha": "center", "va": "center", "path_effects": HALO, "zorder": 4}
            ax.annotate(f"{number}", own.mean(0), (0, 0 if len(own) > 2 else 8), textcoords="offset points", **look)
    flat_map(ax)


def flat_map(ax: Axes) -> None:
    """Axes of a map: km east and north, the same scale both ways."""
    ax.set(xlabel="east (km)", ylabel="north (km)")
    ax.set_aspect("equal", adjustable="datalim")
    ax.grid(False)


def scale_bar(ax: Axes, xy) -> None:
    """A bar below the points (n, 2) in km instead of axes: quicker to draw."""
    size = np.ptp(xy, axis=0).max()
    length = max(k for k in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if k <= max(size / 4, 0.1))
    x, y = np.min(xy, axis=0) - [0, 0.08 * size]
    ax.plot([x, x + length], [y, y], color="black", linewidth=2, solid_capstyle="butt")
    ax.annotate(f"{length:g} km", (x + length, y), (4, 0), textcoords="offset points", va="center", fontsize=9)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_axis_off()


def zone_colours(zone) -> list[str]:
    """A colour for every stop: zones take turns in the order they are reached, so that neighbours differ; light: no zone."""
    shades = {zone: COLOURS[i % len(COLOURS)] for i, zone in enumerate(_zones_in_order(zone))}
    return [shades.get(one, "0.8") for one in np.asarray(zone).tolist()]


def _zones_in_order(zone) -> list[int]:
    return [one for one in dict.fromkeys(np.asarray(zone).tolist()) if one != NO_ZONE]


def city(ax: Axes, table: RouteTable, metro: str, most: int = 40) -> None:
    """Routes of one metro (three letters) with their stations, at most `most`, in one colour each."""
    chosen = np.flatnonzero(table.metro == metro)[:most]
    if not len(chosen):
        raise ParameterError.of("metro", metro, ", ".join(np.unique(table.metro)))
    xy = plane(*(np.concatenate([x[a:b] for a, b in zip(table.ptr[chosen], table.ptr[chosen + 1], strict=True)])
                 for x in (table.lat, table.lng)))  # fmt: skip
    ends = np.cumsum(table.sizes[chosen] + 1)
    stations = np.array([points[0] for points in np.split(xy, ends[:-1])])
    for number, points in enumerate(np.split(xy, ends[:-1])):
        ax.plot(*points[1:].T, ".", color=COLOURS[number % 6], markersize=1.5)
    ax.plot(*stations.T, "k^", markersize=7, label="station")
    ax.set_title(f"{metro}: {len(chosen)} routes")
    ax.legend(loc="upper left")
    flat_map(ax)


def driven_and_shortest(fig: Figure, route: Route, starts: int = 8) -> None:
    """The driven tour with the station's way, and the shortest that local search finds; straight lines."""
    xy = plane(np.append(route.station_lat, route.lat), np.append(route.station_lng, route.lng))
    orders = {"driven": np.arange(len(xy)), "local search": shortest_tour(xy, starts)}
    lengths = {name: tour_length(xy, order) for name, order in orders.items()}
    for ax, (name, order) in zip(fig.subplots(1, 2, sharex=True, sharey=True), orders.items(), strict=True):
        tour(ax, xy, order)
        inside = xy[1:]
        ax.plot(*inside.T, ".", color=COLOURS[0], markersize=4)
        spread = np.ptp(inside, axis=0).max() / 2 * 1.1
        middle = (inside.min(0) + inside.max(0)) / 2
        ax.set(
            xlim=middle[0] + [-spread, spread], ylim=middle[1] + [-spread, spread], xlabel="east (km)", ylabel="north (km)"
        )
        ax.set_box_aspect(1)
        ax.grid(False)
        ax.set_title(f"{name}: {lengths[name]:.1f} km")


def tour(ax: Axes, xy, order, colour: str = GREY) -> None:
    """A closed tour through points (n, 2) as a line."""
    closed = np.append(order, order[0])
    ax.plot(*np.asarray(xy)[closed].T, color=colour, linewidth=1, zorder=1)


def pick_up_points(ax: Axes, route: Route, point, adopts) -> None:
    """Who fetches where: spokes from the stops that adopt to the middle of their pick-up point's stops, in its colour."""
    xy, point, adopts = plane(route.lat, route.lng), np.asarray(point), np.asarray(adopts, bool)
    ax.plot(*xy[~adopts].T, ".", color="0.6", markersize=4, label="delivered")
    for k in np.unique(point):
        middle, own, colour = xy[point == k].mean(0), xy[adopts & (point == k)], COLOURS[k % 6]
        if len(own):
            spokes = np.stack([own, np.broadcast_to(middle, own.shape), np.full(own.shape, np.nan)], 1).reshape(-1, 2)
            ax.plot(*spokes.T, color=colour, linewidth=0.6)
            ax.plot(*own.T, ".", color=colour, markersize=5)
        ax.plot(*middle, marker="P", color=colour, markeredgecolor="black", markersize=9, linestyle="", zorder=3)
    scale_bar(ax, xy)


def compass(fig: Figure, bearings: Mapping[str, np.ndarray], titles: Mapping[str, str], bins: int = 36) -> None:
    """Roses of the shares of bearings (degrees, both ways) by name, north up; the circle is an even spread."""
    from .bearings import bearing_counts

    axes = fig.subplots(1, len(bearings), subplot_kw={"projection": "polar"}, squeeze=False)[0]
    angle = 2 * np.pi * np.arange(bins) / bins
    shares = {name: bearing_counts(degrees, bins) / (2 * len(degrees)) for name, degrees in bearings.items()}
    top = 1.05 * max(share.max() for share in shares.values())
    for ax, (name, share) in zip(axes, shares.items(), strict=True):
        ax.bar(angle, share, width=2 * np.pi / bins, color=COLOURS[5], edgecolor=COLOURS[0], linewidth=0.6)
        ax.plot(np.linspace(0, 2 * np.pi, 100), np.full(100, 1 / bins), color=COLOURS[1], linestyle="--", linewidth=1.2)
        ax.set_theta_zero_location("N")
        ax.set_theta_direction(-1)
        ax.set_thetagrids([0, 90, 180, 270], ["N", "E", "S", "W"])
        ax.set(ylim=(0, top), yticklabels=[])
        ax.set_title(titles[name], loc="center")
