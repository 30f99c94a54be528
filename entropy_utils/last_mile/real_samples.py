"""Tables of real routes from the small sample of the Amazon challenge (`lab.data.locate("almrrc")`, its README).

Los Angeles: one line per route. Austin: all stops in driven order, with OpenStreetMap driving kilometres of every leg. Both
lack the parcels of single stops.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from entropy_utils.information import log_factorial
from entropy_utils.lab.errors import BrokenFile, ParameterError, brief

LOS_ANGELES = {
    "route_id": str, "centroid_lat": float, "centroid_lng": float, "sd_lat_deg": float, "sd_lng_deg": float,
    "n_dropoffs": int, "n_packages": int, "n_delivered": int, "n_rejected": int, "n_attempted": int,
    "bbox_km2": float, "euclid_km": float, "drive_km": float,
}  # fmt: skip
AUSTIN_LEGS = {
    "route": int, "pos": int, "stop": str, "type": str, "zone_id": str, "lat": float, "lng": float,
    "drive_km_to_next": float, "drive_min_to_next": float,
}  # fmt: skip
AUSTIN_ROUTES = {"route": int, "route_id": str}
LINES = {"los_angeles_routes.csv": 2876, "austin_legs.csv": 31_274, "austin_routes.csv": 214}


def los_angeles_routes(folder: str | Path) -> pd.DataFrame:
    """2,876 training routes of Los Angeles: drop-offs, packages, spread (degrees), straight and driven km of the tour.

    Two routes have no driven km (NaN). `BrokenFile` naming file, line and field unless it is what it should be.
    """
    path = Path(folder) / "derived" / "los_angeles_routes.csv"
    table = _read(path, LOS_ANGELES)
    parcels, positive = "from 0 to n_packages", "finite and above 0"
    _check(path, table, (
        ("route_id", table.route_id.notna(), "a name"),
        ("centroid_lat", table.centroid_lat.abs() <= 90, "degrees from -90 to 90"),
        ("centroid_lng", table.centroid_lng.abs() <= 180, "degrees from -180 to 180"),
        *((name, table[name].between(0, 180), "degrees from 0 to 180") for name in ("sd_lat_deg", "sd_lng_deg")),
        ("n_dropoffs", table.n_dropoffs >= 1, "from 1"),
        ("n_packages", table.n_packages >= table.n_dropoffs, "at least one per drop-off, no fewer packages than stops"),
        *((f"n_{name}", table[f"n_{name}"].between(0, table.n_packages), parcels)
          for name in ("delivered", "rejected", "attempted")),
        *((name, table[name].between(0, np.inf, "neither"), positive) for name in ("bbox_km2", "euclid_km")),
        ("drive_km", table.drive_km.isna() | table.drive_km.between(0, np.inf, "neither"), f"{positive}, or empty"),
    ))  # fmt: skip
    return table


def austin_legs(folder: str | Path) -> pd.DataFrame:
    """31,274 lines, all stops of 214 routes in driven order (pos 0: the station), with `route_id`.

    A stop may be called NA. `zone_id` is missing (NaN) where there is none. The km and minutes of a line are those to the
    next, of a route's last line back to the station. `BrokenFile` naming file, line and field unless it is what it should
    be.
    """
    path = Path(folder) / "derived" / "austin_legs.csv"
    table = _read(path, AUSTIN_LEGS)
    first = table.route.ne(table.route.shift())
    in_order = table.pos.eq(table.pos.shift() + 1).where(~first, table.pos.eq(0) & table.type.eq("Station"))
    legs = ("drive_km_to_next", "drive_min_to_next")
    _check(path, table, (
        ("stop", table.stop.notna(), "a name"),
        ("type", table.type.isin(["Station", "Dropoff"]), "Station or Dropoff"),
        ("pos", in_order, "the driven order, from 0 at the station on"),
        ("lat", table.lat.abs() <= 90, "degrees from -90 to 90"),
        ("lng", table.lng.abs() <= 180, "degrees from -180 to 180"),
        *((name, table[name].between(0, np.inf, "left"), "finite, from 0") for name in legs),
    ))  # fmt: skip
    path = Path(folder) / "derived" / "austin_routes.csv"
    names = _read(path, AUSTIN_ROUTES)
    _check(path, names, (
        ("route_id", names.route_id.notna(), "a name"),
        ("route", names.route.isin(table.route) & ~names.route.duplicated(), "a route of austin_legs.csv, each once"),
    ))  # fmt: skip
    return table.assign(route_id=table.route.map(names.set_index("route").route_id))


def geometric_entropy(N, M) -> np.ndarray:
    """Expected structural entropy in nats of a route of which only N parcels and M stops are known; arrays broadcast.

    Parcels per stop are taken as geometric from 1 on, with mean N / M: S = ln N! - M E[ln n!]. On the 13 real routes, where
    S is known, that is right to 0.2 +- 0.3 % (at most 0.9 %).
    """
    N, M = np.broadcast_arrays(np.asarray(N, float), np.asarray(M, float))
    wrong = ~((M >= 1) & (N >= M))
    if wrong.any():
        raise ParameterError.of(
            "N", float(N[wrong][0]), f"at least one parcel for each of M = {M[wrong][0]:g} stops, M from 1"
        )
    share = (M / N)[..., None]
    k = np.arange(1, int(N.max()) + 1)
    return log_factorial(N) - M * (share * (1 - share) ** (k - 1) * log_factorial(k)).sum(-1)


def _read(path: Path, columns: dict[str, type]) -> pd.DataFrame:
    """A CSV with these columns, whole. Only an empty field is missing: pandas would take a stop called NA for it too."""
    try:
        table = pd.read_csv(path, usecols=list(columns), dtype=columns, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise
    except ValueError as error:  # pandas' own are among them
        raise BrokenFile(f"{path.name}: {' '.join(str(error).split())}") from None
    if len(table) != LINES[path.name]:
        raise BrokenFile(f"{path.name}: got {len(table)} lines below the head, allowed: {LINES[path.name]}, the whole table")
    return table


def _check(path: Path, table: pd.DataFrame, checks) -> None:
    """`BrokenFile` for the first value that is not right; `checks`: column, mask of what is right, what is allowed."""
    for column, right, allowed in checks:
        if not right.all():
            row = int(right.argmin())
            where = f"{path.name}: line {row + 2}, route {table.iloc[row, 0]}, field '{column}'"
            raise BrokenFile(f"{where}: got {brief(table[column].tolist()[row])}, allowed: {allowed}")
