"""Writes a table of routes as the JSON files of the Amazon challenge, with synthetic packages in place of real ones.

What a `RouteTable` does not hold is drawn: package ids, dimensions, time windows and states, departures, capacities, and
travel times if asked for. Their distributions are ours, fitted to published statistics.
"""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from entropy_utils.lab.errors import ParameterError

from .almrrc import ROUTES, SERVICE, SPLITS
from .distances import haversine
from .route_table import NO_ZONE, RouteTable
from .synthetic_city import travel_seconds

UTC_MINUS_LOCAL = {"DLA": 7, "DSE": 7, "DCH": 5, "DAU": 5, "DBO": 4}  # hours in summer
DIMENSIONS = ("depth_cm", "height_cm", "width_cm")
MEDIANS, LOG_SD = np.array([32.3, 7.6, 24.1]), np.array([0.26, 0.87, 0.29])
LOG_CORRELATION = np.array([[1, 0.43, 0.80], [0.43, 1, 0.21], [0.80, 0.21, 1]])
STATES, STATE_CHANCES = ("DELIVERED", "DELIVERY_ATTEMPTED", "REJECTED"), (0.99238, 0.0076, 0.00002)
WINDOWS_MEAN, WINDOWS_SIZE = 18.6, 1.63  # packages with a time window, negative binomial
NO_WINDOW = {"start_time_utc": math.nan, "end_time_utc": math.nan}


def to_json(
    table: RouteTable, directory: str | Path, split: str = "training", seed: int = 0, travel_times: bool = False
) -> None:
    """Write route_data, actual_sequences and package_data of a split under `directory`, where `load_almrrc` reads them.

    About 70 kB per route, and 0.4 MB more with travel_times. The seconds at a stop are shared by its packages and rounded
    to 0.1 s each, as they are in a synthetic city: such a table comes back identical. Only the training split has
    route_score and scan_status. Its invalid_sequence_scores, which nothing here reads, are left out.
    """
    if split not in SPLITS:
        raise ParameterError.of("split", split, ", ".join(SPLITS))
    rng = np.random.default_rng(seed)
    paths = [Path(directory) / name for name in SPLITS[split]]
    if travel_times:
        paths.append(paths[ROUTES].with_name(paths[ROUTES].name.replace("route_data", "travel_times")))
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("w", encoding="utf-8")) for path in paths]
        for i in range(len(table)):
            values = _route(table, i, split == "training", rng)
            if travel_times:
                values = (*values, _travel_times(table, i, rng))
            for file, value in zip(files, values, strict=True):
                file.write(f'{", " if i else "{"}"{table.route_id[i]}": {json.dumps(value)}')
        for file in files:
            file.write("}")


def _route(table: RouteTable, i: int, training: bool, rng) -> tuple[dict, dict, dict]:
    """The three values of a route, by `almrrc.SPLITS`."""
    rows = slice(table.ptr[i], table.ptr[i + 1])
    stop, n, lat, lng, zone, service = (
        column[rows].tolist() for column in (table.stop, table.n, table.lat, table.lng, table.zone, table.service)
    )
    by_name = sorted(range(len(stop)), key=stop.__getitem__)
    zones = [math.nan if code == NO_ZONE else str(table.zone_names[code]) for code in zone]
    utc = datetime.fromisoformat(str(table.date[i])) + timedelta(hours=UTC_MINUS_LOCAL.get(str(table.metro[i]), 0))
    route = {
        "station_code": str(table.station_code[i]),
        "date_YYYY_MM_DD": str(table.date[i]),
        "departure_time_utc": str((utc + timedelta(seconds=int(3600 * rng.uniform(7.33, 10.67)))).time()),
        "executor_capacity_cm3": 3313071.0 if rng.random() < 0.55 else 4247527.0,
        "route_score": str(table.score[i]),
        "stops": {
            stop[j]: {"lat": lat[j], "lng": lng[j], "type": "Dropoff" if j else "Station", "zone_id": zones[j]}
            for j in by_name
        },
    }
    if not (training and route["route_score"]):
        del route["route_score"]
    each = [round(seconds / max(count, 1), 1) for seconds, count in zip(service, n, strict=True)]
    package = iter(_packages(sum(n), utc, training, rng))
    packages = {
        stop[j]: {name: {**rest, SERVICE: each[j], "dimensions": sides} for name, rest, sides in _first(package, n[j])}
        for j in by_name
    }
    return route, {"actual": {stop[j]: j for j in by_name}}, packages


def _first(package, count: int) -> list[tuple[str, dict, dict]]:
    return [next(package) for _ in range(count)]


def _packages(N: int, utc: datetime, training: bool, rng) -> list[tuple[str, dict, dict]]:
    """Id, state and window, and sides of N packages; `utc` is local midnight."""
    digits = rng.bytes(16 * N).hex()
    ids = [digits[k : k + 32] for k in range(0, 32 * N, 32)]
    logs = rng.multivariate_normal(np.log(MEDIANS), LOG_CORRELATION * np.outer(LOG_SD, LOG_SD), N)
    sides = np.exp(logs).round(1).clip(0.1).tolist()
    windows = [NO_WINDOW] * N
    for k, start, end in zip(*_windows(N, rng), strict=True):
        times = (str(utc + timedelta(minutes=minutes)) for minutes in (start, end))
        windows[k] = dict(zip(NO_WINDOW, times, strict=True))
    states = rng.choice(STATES, N, p=STATE_CHANCES).tolist()
    return [
        (
            f"PackageID_{d[:8]}-{d[8:12]}-4{d[13:16]}-a{d[17:20]}-{d[20:]}",
            {"scan_status": state, "time_window": window} if training else {"time_window": window},
            dict(zip(DIMENSIONS, three, strict=True)),
        )
        for d, state, window, three in zip(ids, states, windows, sides, strict=True)
    ]


def _windows(N: int, rng) -> tuple[list[int], list[int], list[int]]:
    """Which of N packages have a window, and its start (8 to 9 h) and end (15 to 17 h) in minutes after local midnight."""
    count = min(int(rng.negative_binomial(WINDOWS_SIZE, WINDOWS_SIZE / (WINDOWS_SIZE + WINDOWS_MEAN))), N)
    which = rng.choice(N, count, replace=False)
    return which.tolist(), rng.integers(480, 540, count).tolist(), rng.integers(900, 1020, count).tolist()


def _travel_times(table: RouteTable, i: int, rng) -> dict[str, dict[str, float]]:
    """Seconds from every stop to every other, with noise of its own in each direction; 0 on the diagonal."""
    rows = slice(table.ptr[i], table.ptr[i + 1])
    lat, lng, stop = table.lat[rows], table.lng[rows], table.stop[rows]
    km = haversine(lat[:, None], lng[:, None], lat, lng)
    seconds = (travel_seconds(km) * np.exp(0.08 * rng.standard_normal(km.shape))).round(1)
    np.fill_diagonal(seconds, 0.0)
    by_name = np.argsort(stop)
    names = stop[by_name].tolist()
    return {
        a: dict(zip(names, row, strict=True)) for a, row in zip(names, seconds[by_name][:, by_name].tolist(), strict=True)
    }
