"""Tables of real routes from the small sample of the Amazon challenge (`lab.data.locate("almrrc")`, its README).

Los Angeles: one line per route. Austin: all stops in driven order, with OpenStreetMap driving kilometres of every leg. Both
lack the parcels of single stops.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from entropy_utils.information import log_factorial
from entropy_utils.lab.errors import BrokenFile, ParameterError

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


def los_angeles_routes(folder: str | Path) -> pd.DataFrame:
    """2,876 training routes of Los Angeles: drop-offs, packages, spread (degrees), straight and driven km of the tour.

    Two routes have no driven km (NaN). `BrokenFile` naming the file unless it is what it should be.
    """
    path = Path(folder) / "derived" / "los_angeles_routes.csv"
    table = _read(path, LOS_ANGELES)
    wrong = (table.n_dropoffs < 1) | (table.n_packages < table.n_dropoffs) | ~(table.drive_km.fillna(1) > 0)
    if wrong.any():
        raise BrokenFile(f"{path.name}: route {table.route_id[wrong.idxmax()]}: fewer packages than stops, or no distance")
    return table


def austin_legs(folder: str | Path) -> pd.DataFrame:
    """31,274 lines, all stops of 214 routes in driven order (pos 0: the station), with `route_id`.

    A stop may be called NA. `zone_id` is missing (NaN) where there is none. The km and minutes of a line are those to the
    next, of a route's last line back to the station. `BrokenFile` naming the file unless it is what it should be.
    """
    path = Path(folder) / "derived" / "austin_legs.csv"
    table = _read(path, AUSTIN_LEGS)
    first = table.route.ne(table.route.shift())
    in_order = table.pos.eq(table.pos.shift() + 1).where(~first, table.pos.eq(0) & table.type.eq("Station"))
    on_earth = table.lat.abs().le(90) & table.lng.abs().le(180)
    for right, what in ((in_order, "not in driven order from the station on"), (on_earth, "not a place on Earth")):
        if not right.all():
            row = right.idxmin()
            raise BrokenFile(f"{path.name}: line {row + 2}, route {table.route[row]}: {what}")
    names = _read(Path(folder) / "derived" / "austin_routes.csv", AUSTIN_ROUTES).set_index("route").route_id
    return table.assign(route_id=table.route.map(names))


def geometric_entropy(N, M) -> np.ndarray:
    """Expected structural entropy in nats of a route of which only N parcels and M stops are known; arrays broadcast.

    Parcels per stop are taken as geometric from 1 on, with mean N / M: S = ln N! - M E[ln n!]. On the 13 real routes, where
    S is known, that is right to 0.2 +- 0.3 %.
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
    """A CSV with these columns. Only an empty field is missing: pandas would take a stop called NA for it too."""
    try:
        return pd.read_csv(path, usecols=list(columns), dtype=columns, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise
    except ValueError as error:  # pandas' own are among them
        raise BrokenFile(f"{path.name}: {' '.join(str(error).split())}") from None
