"""Delivery routes as columns: all stops of all routes in a few flat arrays, the station of a route before its stops.

895 000 stops are 40 MB this way, and a sum per route is one `numpy.add.reduceat` over `table.starts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from entropy_utils.lab.errors import BrokenFile, ParameterError

FEWEST = 2  # drop-offs: one alone has no distribution
NO_ZONE = -1
PER_STOP = {"n": np.int16, "lat": np.float64, "lng": np.float64, "zone": np.int32, "service": np.float32, "stop": np.str_}
PER_ROUTE = ("route_id", "station_code", "score", "date")


class Skipped(NamedTuple):
    """A route that a reader left out, the field that was wrong, and why."""

    route: str
    field: str
    reason: str


class Route(NamedTuple):
    """One route: its M drop-offs in driven order, as views of the table, and the place of its station.

    n: parcels per stop; lat, lng: degrees; zone: code into `RouteTable.zone_names`, -1 for none; service: planned seconds
    at the stop, over all its parcels; stop: two-letter name, unique within the route.
    """

    route_id: str
    station_code: str
    n: np.ndarray
    lat: np.ndarray
    lng: np.ndarray
    zone: np.ndarray
    service: np.ndarray
    stop: np.ndarray
    station_lat: float
    station_lng: float


@dataclass(frozen=True, eq=False)
class RouteTable:
    """R routes with all their stops.

    `ptr` (R + 1): route i has the rows ptr[i] to ptr[i + 1] of the columns of stops; the first is its station with n = 0
    and no service, the others are its drop-offs in driven order. Columns of stops: as in `Route`. Of routes: `route_id`,
    `station_code` (such as DLA7), `score` (High, Medium, Low, or empty), `date` (YYYY-MM-DD). `skipped`: routes that a
    reader left out. `ParameterError` naming column, route and stop unless every route has at least two drop-offs with at
    least one parcel each, places on Earth, finite service times and known zones.
    """

    ptr: np.ndarray
    n: np.ndarray
    lat: np.ndarray
    lng: np.ndarray
    zone: np.ndarray
    service: np.ndarray
    stop: np.ndarray
    zone_names: np.ndarray
    route_id: np.ndarray
    station_code: np.ndarray
    score: np.ndarray
    date: np.ndarray
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self):
        columns = {name: np.asarray(getattr(self, name)) for name in (*PER_STOP, *PER_ROUTE, "zone_names", "ptr")}
        _check_shapes(columns)
        _check_values(columns)
        for name, column in columns.items():
            kind = PER_STOP.get(name, np.int64 if name == "ptr" else np.str_)
            object.__setattr__(self, name, column.astype(kind, copy=False))
        object.__setattr__(self, "skipped", tuple(Skipped(*one) for one in self.skipped))

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @property
    def starts(self) -> np.ndarray:
        """(R,) row of each station: what `numpy.add.reduceat` wants."""
        return self.ptr[:-1]

    @property
    def sizes(self) -> np.ndarray:
        """(R,) drop-offs of each route, M."""
        return np.diff(self.ptr) - 1

    @property
    def owner(self) -> np.ndarray:
        """The number of its route, for every row."""
        return np.repeat(np.arange(len(self)), np.diff(self.ptr))

    @property
    def seq(self) -> np.ndarray:
        """Place in the driven order, for every row: 0 is the station."""
        return np.arange(self.ptr[-1]) - np.repeat(self.starts, np.diff(self.ptr))

    @property
    def metro(self) -> np.ndarray:
        """(R,) metropolitan area: the first three letters of the station code."""
        return self.station_code.astype("U3")

    def route(self, i: int) -> Route:
        """Route number i without its station; `ParameterError` if there is none."""
        if not 0 <= i < len(self):
            raise ParameterError.of("i", i, f"integer from 0 to {len(self) - 1}")
        first, last = self.ptr[i : i + 2]
        stops = [getattr(self, name)[first + 1 : last] for name in ("n", "lat", "lng", "zone", "service", "stop")]
        station = float(self.lat[first]), float(self.lng[first])
        return Route(str(self.route_id[i]), str(self.station_code[i]), *stops, *station)

    def __iter__(self) -> Iterator[Route]:
        return map(self.route, range(len(self)))

    def select(self, which) -> RouteTable:
        """The routes of a mask (R,), a slice or a list of numbers, in its order. `zone_names` and `skipped` stay."""
        chosen = np.arange(len(self))[which]
        if not len(chosen):
            raise ParameterError.of("which", "no route", "at least one route")
        sizes = np.diff(self.ptr)[chosen]
        ptr = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.arange(ptr[-1]) + np.repeat(self.starts[chosen] - ptr[:-1], sizes)
        stops = {name: getattr(self, name)[rows] for name in PER_STOP}
        routes = {name: getattr(self, name)[chosen] for name in PER_ROUTE}
        return replace(self, ptr=ptr, **stops, **routes)

    def save(self, path: str | Path, **extra: np.ndarray) -> None:
        """Write a compressed npz that `load` reads; `extra` arrays go with it. The file appears whole or not at all."""
        path = Path(path)
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        columns["skipped"] = np.array(self.skipped, dtype=np.str_).reshape(-1, 3)
        part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez_compressed(file, **columns, **extra)
        part.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> RouteTable:
        """What `save` wrote; `BrokenFile` if it is damaged or something else."""
        try:
            with np.load(path) as file:
                return cls(**{field.name: file[field.name] for field in fields(cls)})
        except FileNotFoundError:
            raise
        except Exception as error:  # zipfile, zlib, pickle and numpy each have their own
            raise BrokenFile(f"{Path(path).name}: not a table of routes ({error})") from None


def _check_shapes(columns: dict[str, np.ndarray]) -> None:
    """One length for the columns of stops, one for those of routes, and a `ptr` that cuts the first into the second."""
    ptr = columns["ptr"]
    if ptr.ndim != 1 or len(ptr) < 2 or ptr[0] != 0:
        raise ParameterError.of("ptr", ptr.tolist()[:8], "row numbers from 0, one more than routes")
    for names, length in ((PER_STOP, ptr[-1]), (PER_ROUTE, len(ptr) - 1)):
        for name in names:
            if columns[name].shape != (length,):
                raise ParameterError.of(name, f"shape {columns[name].shape}", f"({length},) as ptr has it")
    few = np.diff(ptr) < 1 + FEWEST
    if few.any():
        i = int(few.argmax())
        where = f"route {columns['route_id'][i]}, field"
        raise ParameterError.of("ptr", f"{ptr[i + 1] - ptr[i]} rows", f"a station and at least {FEWEST} drop-offs", where)


def _check_values(columns: dict[str, np.ndarray]) -> None:
    """Every number of every stop is one that can be."""
    n, lat, lng, zone, service = (columns[name] for name in ("n", "lat", "lng", "zone", "service"))
    station = np.zeros(len(n), bool)
    station[columns["ptr"][:-1]] = True
    zones, most = len(columns["zone_names"]), np.iinfo(np.int16).max
    for name, right, allowed in (
        ("n", np.where(station, n == 0, (n >= 1) & (n <= most) & (n % 1 == 0)), f"0 at the station, then from 1 to {most}"),
        ("lat", np.abs(lat) <= 90, "degrees from -90 to 90"),
        ("lng", np.abs(lng) <= 180, "degrees from -180 to 180"),
        ("zone", (zone >= NO_ZONE) & (zone < zones), f"-1 for none, or the place of one of the {zones} zone_names"),
        ("service", (service >= 0) & (service < np.inf), "finite seconds from 0"),
    ):
        if not right.all():
            row = int(right.argmin())
            i = int(np.searchsorted(columns["ptr"], row, side="right")) - 1
            where = f"route {columns['route_id'][i]}, stop {row - columns['ptr'][i]}, field"
            raise ParameterError.of(name, columns[name][row].item(), allowed, where)
