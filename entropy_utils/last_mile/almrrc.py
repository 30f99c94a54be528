"""Reader of the 2021 Amazon Last Mile Routing Research Challenge (Merchan et al. 2024, doi:10.1287/trsc.2022.1173).

Three of its JSON files are read, one route at a time: route_data, actual_sequences and package_data. travel_times, most
of its 3.1 GB, is not. The files have bare NaN, the station among the stops with no package, stops called "NA", and
parcels that were tried at two stops: n counts attempts.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from entropy_utils.lab.errors import BrokenFile, DataUnavailable, ParameterError, brief

from .route_table import FEWEST, NO_ZONE, RouteTable, Skipped

ROUTES, SEQUENCES, PACKAGES = range(3)  # places of the files of a split
SPLITS = {
    "training": (
        "model_build_inputs/route_data.json",
        "model_build_inputs/actual_sequences.json",
        "model_build_inputs/package_data.json",
    ),
    "apply": (
        "model_apply_inputs/new_route_data.json",
        "model_score_inputs/new_actual_sequences.json",
        "model_apply_inputs/new_package_data.json",
    ),
    "evaluation": (
        "model_apply_inputs/eval_route_data.json",
        "model_score_inputs/eval_actual_sequences.json",
        "model_apply_inputs/eval_package_data.json",
    ),
}
PARENTS = ("", "almrrc2021-data-training", "almrrc2021-data-evaluation")
SERVICE, LONGEST = "planned_service_time_seconds", 1e6
HEAD = {"station_code": r"[A-Z]{3}\w*", "route_score": r"\w*", "date_YYYY_MM_DD": r"\d{4}-\d\d-\d\d"}  # and their forms
OPENING, AFTER = re.compile(r"\s*\{"), re.compile(r"\s*(,|\}\s*\Z)")
NAME, KEY = re.compile(r'\s*"([\w-]{1,60})'), re.compile(r'\s*"[\w-]{1,60}"\s*:\s*')


def load_almrrc(
    directory: str | Path, split: str = "training", on_error: str = "raise", cache: str | Path | None = None
) -> RouteTable:
    """All routes of a split ("training", "apply" or "evaluation") that lies under `directory`.

    `directory`: the folder with model_build_inputs or model_apply_inputs in it, or its parent. `cache`: an npz to keep the
    table in; it is read instead of the JSON as long as the three files are what they were when it was written.

    A file that is no JSON, or a route that is not as it should be (fewer than two drop-offs, a drop-off without parcels,
    coordinates off the Earth, negative times, a zone that is no name, an order that misses stops, a name twice in one
    object), raises `BrokenFile` with file, route and field. With on_error="skip" the route is left out instead and stands in
    `table.skipped`.
    """
    if split not in SPLITS:
        raise ParameterError.of("split", split, ", ".join(SPLITS))
    if on_error not in ("raise", "skip"):
        raise ParameterError.of("on_error", on_error, "raise, skip")
    files = _files(Path(directory), split)
    stamp = [split, on_error, *(f"{file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)]
    if cache is not None and _stamp(Path(cache)) == stamp:
        with suppress(BrokenFile):  # damaged behind its stamp
            return RouteTable.load(cache)
    table = _Reader(files, on_error == "skip").table()
    if cache is not None:
        table.save(cache, inputs=np.array(stamp))
    return table


def _files(directory: Path, split: str) -> list[Path]:
    """The three files of a split."""
    for parent in PARENTS:
        files = [directory / parent / name for name in SPLITS[split]]
        if all(file.is_file() for file in files):
            return files
    raise DataUnavailable(
        f"{directory}: {', '.join(SPLITS[split])} are not all there. Source: Registry of Open Data on AWS, "
        "amazon-last-mile-challenges (3.1 GB, CC BY-NC 4.0)"
    )


def _stamp(cache: Path) -> list[str] | None:
    """What a cache was written from; None if it is none."""
    try:
        with np.load(cache) as file:
            return file["inputs"].tolist()
    except Exception:  # absent, damaged or something else: it is written anew
        return None


class _Wrong(Exception):
    """Something in one route: its field and what is the matter."""

    def __init__(self, field: str, reason: str):
        super().__init__(field, reason)
        self.field, self.reason = " ".join(field.split())[:120], reason  # a key of a damaged file may be anything


class _Reader:
    """Reads the files one after the other; each adds its part to every route that has been in order so far."""

    def __init__(self, files: list[Path], skip: bool):
        self.files, self.skip = files, skip
        self.skipped: dict[str, Skipped] = {}
        self.zones: dict[str, int] = {}

    def table(self) -> RouteTable:
        """The table of all routes that are in order in all three files, in the order of route_data."""
        heads, stops = {}, {}
        for name, (head, columns) in self._read(ROUTES, lambda name, value: _stops(value, self.zones)).items():
            heads[name], stops[name] = head, columns
        orders = self._read(SEQUENCES, lambda name, value: _order(value, stops[name]), stops)
        loads = self._read(PACKAGES, lambda name, value: _load(value, stops[name][0][orders[name]].tolist()), orders)
        kept = [name for name in stops if name in loads]
        if not kept:
            raise BrokenFile(f"{self.files[ROUTES].name}: none of its {len(self.skipped)} routes can be used")
        stop, lat, lng, zone = (np.concatenate([stops[name][i][orders[name]] for name in kept]) for i in range(4))
        n, service = (np.concatenate([loads[name][i] for name in kept]) for i in range(2))
        station_code, score, date = zip(*(heads[name] for name in kept), strict=True)
        zone_names, place = np.unique(np.array(list(self.zones), dtype=np.str_), return_inverse=True)
        place = np.append(place, NO_ZONE)  # where -1 looks
        ptr = np.concatenate([[0], np.cumsum([len(loads[name][0]) for name in kept])])
        return RouteTable(
            ptr, n, lat, lng, place[zone], service, stop, zone_names, kept, station_code, score, date,
            skipped=tuple(self.skipped.values()),
        )  # fmt: skip

    def _read(self, which: int, parse: Callable, known: dict | None = None) -> dict:
        """`parse(name, value)` of every route of a file, by name; it should have just the routes that are `known`."""
        file, found = self.files[which], {}
        for name, value in _members(file):
            if name in self.skipped:
                continue
            try:
                if isinstance(value, json.JSONDecodeError):
                    raise _Wrong("(all)", f"not JSON, {value.msg} at character {value.pos} of {len(value.doc)}")
                if name in found:
                    raise _Wrong("(all)", "the route is there twice")
                if known is not None and name not in known:
                    raise _Wrong("(all)", f"there is no such route in {self.files[ROUTES].name}")
                found[name] = parse(name, value)
            except _Wrong as wrong:
                found.pop(name, None)
                self._report(file, name, wrong)
        for name in known or ():
            if name not in found and name not in self.skipped:
                self._report(file, name, _Wrong("(all)", "the route is missing"))
        return found

    def _report(self, file: Path, name: str, wrong: _Wrong) -> None:
        if not self.skip:
            raise BrokenFile(f"{file.name}: route {name}, field {wrong.field}: {wrong.reason}") from None
        self.skipped[name] = Skipped(name, wrong.field, f"{file.name}: {wrong.reason}")


def _members(file: Path) -> Iterator[tuple[str, object]]:
    """Name and value of every route of a file, or a JSONDecodeError for the value where it is no JSON.

    After such a one it goes on at the next thing that looks like the name of a route.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BrokenFile(f"{file.name}: {error}") from None
    decode, opening = json.JSONDecoder(object_pairs_hook=_once).raw_decode, OPENING.match(text)
    if not opening:
        raise BrokenFile(f"{file.name}: does not begin with {{")
    at = opening.end()
    while at >= 0:
        key, name = KEY.match(text, at), NAME.match(text, at)
        name = name[1] if name else "without a name"
        try:
            if not key:
                raise json.JSONDecodeError("Expecting the name of a route and :", text, at)
            at = key.end()
            value, end = decode(text, at)
            after = AFTER.match(text, end)
            if not after:
                raise json.JSONDecodeError("Expecting , and a route, or } and the end", text, end)
            at = after.end() if after[1] == "," else -1
        except (ValueError, RecursionError) as error:  # the latter, and a bare ValueError, for absurd depths and numbers
            value = error if isinstance(error, json.JSONDecodeError) else json.JSONDecodeError(str(error), text, at)
            at = text.find('"RouteID_', at + 1)
        yield name, value


def _once(pairs: list[tuple[str, object]]) -> dict:
    """An object of these pairs; a name that is there twice would hide the packages of the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{brief(next(name for name in names if names.count(name) > 1))} is there twice")
    return found


def _stops(value, zones: dict[str, int]) -> tuple[tuple[str, ...], tuple]:
    """What `HEAD` names of a route, and of its stops: names, lat, lng, codes of zones (`zones` gains new ones), and
    which of them is the station.
    """
    head = tuple(_text(_object(value, "(all)"), field) for field in HEAD)
    stops = _object(value.get("stops"), "stops")
    names, all_stops = list(stops), list(stops.values())

    def place(i):
        return f"stops.{names[i]}"

    kinds = _column(all_stops, "type", place)
    stations, drop_offs = kinds.count("Station"), kinds.count("Dropoff")
    if stations + drop_offs < len(kinds):
        _check([kind in ("Station", "Dropoff") for kind in kinds], kinds, "type", place, "Station or Dropoff")
    if stations != 1 or drop_offs < FEWEST:
        got = f"{stations} stations and {drop_offs} drop-offs"
        raise _Wrong("stops", f"got {got}, allowed: one station and at least {FEWEST} drop-offs")
    lat = _numbers(all_stops, "lat", place, -90, 90)
    lng = _numbers(all_stops, "lng", place, -180, 180)
    zone = _column(all_stops, "zone_id", place)
    right = [one != "" if isinstance(one, str) else one is None or one != one for one in zone]  # NaN != NaN
    _check(right, zone, "zone_id", place, "the name of a zone, or NaN for none")
    codes = [zones.setdefault(one, len(zones)) if isinstance(one, str) else NO_ZONE for one in zone]
    return head, (np.array(names), lat, lng, np.array(codes), kinds.index("Station"))


def _order(value, stops: tuple) -> np.ndarray:
    """Places of the stops in the driven order, the station first."""
    names, station = stops[0].tolist(), stops[-1]
    actual = _object(_object(value, "(all)").get("actual"), "actual")
    odd = actual.keys() ^ set(names)
    if odd:
        raise _Wrong(f"actual.{min(odd)}", f"{len(odd)} stops are not in both the order and the route")
    order = [actual[name] for name in names]
    if set(map(type, order)) != {int} or sorted(order) != list(range(len(order))) or order[station] != 0:
        allowed = f"0 for the station and 1 to {len(order) - 1} for the others, each once"
        right = [type(at) is int and (at == 0) == (i == station) and 0 <= at < len(order) and order.index(at) == i
                 for i, at in enumerate(order)]  # fmt: skip
        _check(right, order, "", lambda i: f"actual.{names[i]}", allowed)
    return np.argsort(order)


def _load(value, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Packages n and planned seconds of each of the stops `names`, of which the station is the first."""
    unknown = _object(value, "(all)").keys() - set(names)
    if unknown:
        raise _Wrong(min(unknown), "there is no such stop in the route")
    packages = [_object(value.get(name, {}), name) for name in names]
    n = np.array([len(one) for one in packages])
    right = [n[0] == 0, *(n[1:] > 0).tolist()]
    _check(right, n.tolist(), "(packages)", names.__getitem__, "none at the station, at least 1 elsewhere")

    def place(i):
        return [f"{name}.{package}" for name, one in zip(names, packages, strict=True) for package in one][i]

    seconds = _numbers([package for one in packages for package in one.values()], SERVICE, place, 0, LONGEST)
    return n, np.bincount(np.repeat(np.arange(len(n)), n), seconds)


# Parts of a route, each named by the path to it


def _object(value, field: str) -> dict:
    if not isinstance(value, dict):
        raise _Wrong(field, f"got {brief(value)}, allowed: an object")
    return value


def _text(route: dict, field: str) -> str:
    """A text of the right form; the score may be absent, and is so outside the training split."""
    value = route.get(field, "" if field == "route_score" else None)
    if not (isinstance(value, str) and re.fullmatch(HEAD[field], value)):
        raise _Wrong(field, f"got {brief(value)}, allowed: text of the form {HEAD[field]}")
    if field.startswith("date"):
        try:
            datetime.date.fromisoformat(value)
        except ValueError:
            raise _Wrong(field, f"got {brief(value)}, allowed: a day of the calendar") from None
    return value


def _column(objects: list, field: str, place: Callable[[int], str]) -> list:
    """A field of every object; `place(i)` names object i."""
    try:
        return [one[field] for one in objects]
    except (KeyError, TypeError):
        i = next(i for i, one in enumerate(objects) if not isinstance(one, dict) or field not in one)
        raise _Wrong(f"{place(i)}.{field}", "missing") from None


def _numbers(objects: list, field: str, place: Callable[[int], str], low: float, high: float) -> np.ndarray:
    """A field of every object that must be a number in a range."""
    values = _column(objects, field, place)
    allowed = f"a number from {low:g} to {high:g}"
    if not set(map(type, values)) <= {int, float}:
        _check([type(value) in (int, float) for value in values], values, field, place, allowed)
    _check([low <= value <= high for value in values], values, field, place, allowed)
    return np.array(values, dtype=float)


def _check(right, values: list, field: str, place: Callable[[int], str], allowed: str) -> None:
    """`_Wrong` for the first value that is not right."""
    if not all(right):
        i = int(np.argmin(right))
        raise _Wrong(f"{place(i)}.{field}".rstrip("."), f"got {brief(values[i])}, allowed: {allowed}")
