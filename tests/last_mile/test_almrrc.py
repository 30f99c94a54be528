"""The reader of the challenge's JSON: round trips, the traps of the real files, and bad input."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entropy_utils.lab.errors import BrokenFile, DataUnavailable, ParameterError
from entropy_utils.last_mile import structural_entropy as se
from entropy_utils.last_mile.almrrc import PACKAGES, ROUTES, SEQUENCES, SERVICE, SPLITS, load_almrrc
from entropy_utils.last_mile.almrrc_writer import to_json
from entropy_utils.last_mile.route_table import RouteTable
from entropy_utils.last_mile.synthetic_city import synthetic_almrrc

FILES = [name.rpartition("/")[2] for name in SPLITS["training"]]


@pytest.fixture(scope="module")
def city() -> RouteTable:
    return synthetic_almrrc(40, seed=3)


@pytest.fixture(scope="module")
def texts(city, tmp_path_factory) -> list[str]:
    """The three files of four routes."""
    folder = tmp_path_factory.mktemp("texts")
    to_json(city.select(slice(0, 4)), folder)
    return [(folder / name).read_text() for name in SPLITS["training"]]


@pytest.fixture
def write(tmp_path):
    """Write three files of the training split, texts or what becomes JSON, and give their folder."""

    def write(*contents):
        for name, content in zip(SPLITS["training"], contents, strict=True):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path

    return write


def assert_same(one: RouteTable, other: RouteTable, but: tuple[str, ...] = ()) -> None:
    for field in dataclasses.fields(RouteTable):
        if field.name not in but:
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


# Round trips


def test_json_of_a_synthetic_city_comes_back_identical(city, tmp_path):
    to_json(city, tmp_path)
    assert_same(load_almrrc(tmp_path), city)


@pytest.mark.parametrize("split", ["apply", "evaluation"])
def test_the_other_layouts_have_no_score_and_no_status(city, split, tmp_path):
    to_json(city, tmp_path, split)
    assert_same(load_almrrc(tmp_path, split), city, but=("score",))
    assert set(load_almrrc(tmp_path, split).score) == {""}
    assert "scan_status" not in (tmp_path / SPLITS[split][PACKAGES]).read_text()
    with pytest.raises(DataUnavailable, match=r"model_build_inputs/route_data\.json"):
        load_almrrc(tmp_path)


def test_the_folders_of_the_full_data_set_are_found(city, tmp_path):
    to_json(city, tmp_path / "almrrc2021-data-training")
    to_json(city.select([0]), tmp_path / "almrrc2021-data-evaluation", "evaluation")
    assert len(load_almrrc(tmp_path)) == len(city)
    assert len(load_almrrc(tmp_path, "evaluation")) == 1


def test_other_order_and_spacing_of_the_json_change_nothing(city, texts, write):
    routes, sequences, packages = map(json.loads, texts)
    turned = dict(reversed(packages.items()))
    folder = write(
        json.dumps(routes, indent=2), json.dumps(sequences, separators=(",", ":")), json.dumps(turned, indent=1) + "\n"
    )
    kept = load_almrrc(folder)
    assert kept.route_id.tolist() == list(routes)
    assert_same(kept, city.select(slice(0, 4)), but=("zone", "zone_names"))


def test_the_schema_is_the_real_one(city, sample, tmp_path):
    """Every path in our JSON is one of the real files', with values of the same type, and the other way round."""
    to_json(city, tmp_path, "apply")
    for name in SPLITS["apply"]:
        ours, theirs = (_shape(json.loads((folder / name).read_text())) for folder in (tmp_path, sample))
        assert ours == theirs, name


def _shape(value, path: str = "") -> set[tuple[str, type]]:
    if not isinstance(value, dict):
        return {(path, type(value))}
    found = {(path, dict)}
    for key, member in value.items():
        kind = re.sub(r"^(RouteID|PackageID)_[0-9a-f-]{36}$|^[A-Z]{2}$", lambda found: f"<{found[1] or 'stop'}>", key)
        found |= _shape(member, f"{path}/{kind}")
    return found


# The real sample


def test_numbers_of_the_13_real_routes(sample):
    table = load_almrrc(sample, "apply")
    assert table.skipped == ()
    assert Counter(table.station_code.tolist()) == {
        "DCH4": 2,
        "DLA7": 4,
        "DLA8": 1,
        "DLA9": 1,
        "DSE4": 2,
        "DSE5": 1,
        "DBO2": 2,
    }
    found = se.route_entropies(table)
    assert found.N.sum() == 3129  # attempts; 3,125 packages
    assert found.S.mean() == pytest.approx(1006.35, abs=0.005)
    assert found.eta.mean() == pytest.approx(0.9284, abs=1e-4)
    assert (found.eta.min(), found.eta.max()) == pytest.approx((0.861, 0.952), abs=5e-4)
    assert found.J.mean() == pytest.approx(0.9707, abs=1e-4)
    assert (found.S / (found.N * found.H)).mean() == pytest.approx(0.853, abs=5e-4 + 1e-5)
    assert (table.service.sum() / table.n.sum()) == pytest.approx(68, rel=0.05)


def test_zones_of_the_13_real_routes(sample):
    shares = []
    for route in load_almrrc(sample, "apply"):
        zone = np.unique(route.zone, return_inverse=True)[1]  # stops without a zone together
        between, within = se.chain_split(route.n, zone)
        shares.append(between / (between + within))
    assert np.mean(shares) == pytest.approx(0.66, abs=0.005)


@pytest.mark.parametrize(
    ("kind", "column", "value", "digits"),
    [("R2", "S", 640.9, 0.05), ("R2", "eta", 0.59, 0.005), ("R3", "eta", 0.67, 0.005), ("R4", "J", 0.971, 5e-4),
     ("R4", "eta", 0.894, 5e-4), ("R5", "S", 257.8, 0.05)],
)  # fmt: skip
def test_other_definitions_on_the_13_real_routes(sample, kind, column, value, digits):
    found = se.route_entropies(load_almrrc(sample, "apply"), kind)
    assert found[column].mean() == pytest.approx(value, abs=digits)


def test_zone_by_zone_is_40_percent_of_all_orders(sample):
    table = load_almrrc(sample, "apply")
    share = se.route_entropies(table, "R5").S / se.route_entropies(table, "R2").S
    assert share.mean() == pytest.approx(0.40, abs=0.01)
    evenness = [se.evenness(np.bincount(route.zone[route.zone >= 0])) for route in table]
    assert np.mean(evenness) == pytest.approx(0.967, abs=5e-4)


def test_real_routes_written_and_read_again(sample, tmp_path):
    table = load_almrrc(sample, "apply")
    to_json(table, tmp_path, "apply")
    again = load_almrrc(tmp_path, "apply")
    assert_same(again, table, but=("service",))
    np.testing.assert_array_less(np.abs(again.service - table.service), 0.05 * table.n + 1e-3)


# Traps of the format


def test_a_stop_called_NA_and_bare_NaN_are_read(city, tmp_path):
    to_json(city, tmp_path)
    assert "NaN" in (tmp_path / SPLITS["training"][ROUTES]).read_text()
    table = load_almrrc(tmp_path)
    assert "NA" in table.stop
    assert (table.zone[table.n > 0] == -1).any()


def test_null_is_no_zone_either_and_attempts_are_counted(texts, write):
    routes, sequences, packages = map(json.loads, texts)
    (name, route), *_ = routes.items()
    (first, second) = sorted(sequences[name]["actual"], key=sequences[name]["actual"].get)[1:3]
    route["stops"][first]["zone_id"], route["stops"][second]["zone_id"] = None, math.nan
    again = next(iter(packages[name][first]))
    before = len(packages[name][second])
    packages[name][second][again] = packages[name][first][again]
    read = load_almrrc(write(routes, sequences, packages)).route(0)
    assert read.zone[:2].tolist() == [-1, -1]
    assert read.n[1] == before + 1


def test_integers_serve_as_coordinates_and_seconds(texts, write):
    routes, sequences, packages = map(json.loads, texts)
    (name, route), *_ = routes.items()
    first = min(sequences[name]["actual"], key=sequences[name]["actual"].get)
    route["stops"][first]["lat"] = 34
    assert load_almrrc(write(routes, sequences, packages)).lat[0] == 34.0


# Bad input: file, route and field are named; with "skip" that route alone is missing


def spoil(path: str, value):
    """A change of one place of the first route, the path with stops by their place in the driven order."""
    which, *keys = path.split("/")

    def change(files: list[dict]) -> None:
        name = next(iter(files[ROUTES]))
        by_place = {place: stop for stop, place in files[SEQUENCES][name]["actual"].items()}
        target, whole = files[FILES.index(which + ".json")], [name, *keys]
        for depth, key in enumerate(whole):
            if key.isdigit():
                key = by_place[int(key)]
            elif key == "*":
                key = next(iter(target))
            if depth < len(whole) - 1:
                target = target[key]
            elif value is DROP:
                del target[key]
            else:
                target[key] = value

    return change


DROP = object()
PACKAGE = {"planned_service_time_seconds": 30.0}
BAD = {
    "latitude": (spoil("route_data/stops/3/lat", 91.0), ".lat", "got 91.0, allowed: a number from -90 to 90"),
    "latitude NaN": (spoil("route_data/stops/3/lat", math.nan), ".lat", "got nan"),
    "latitude beyond all floats": (spoil("route_data/stops/3/lat", 10**400), ".lat", "got 1000"),
    "longitude": (spoil("route_data/stops/0/lng", -180.5), ".lng", "got -180.5"),
    "longitude as text": (spoil("route_data/stops/3/lng", "-118"), ".lng", "got '-118'"),
    "no latitude": (spoil("route_data/stops/3/lat", DROP), ".lat", "missing"),
    "stop is a list": (spoil("route_data/stops/3", [1]), ".type", "missing"),
    "kind of stop": (spoil("route_data/stops/3/type", "Depot"), ".type", "got 'Depot'"),
    "two stations": (spoil("route_data/stops/3/type", "Station"), "stops", "got 2 stations"),
    "no stops": (spoil("route_data/stops", {}), "stops", "got 0 stations and 0 drop-offs"),
    "stops are a list": (spoil("route_data/stops", []), "stops", "got []"),
    "zone is a number": (spoil("route_data/stops/3/zone_id", 7), ".zone_id", "got 7"),
    "zone is empty": (spoil("route_data/stops/3/zone_id", ""), ".zone_id", "got ''"),
    "no zone field": (spoil("route_data/stops/3/zone_id", DROP), ".zone_id", "missing"),
    "no station code": (spoil("route_data/station_code", DROP), "station_code", "got None"),
    "date": (spoil("route_data/date_YYYY_MM_DD", "27.7.2018"), "date_YYYY_MM_DD", "got '27.7.2018'"),
    "no such day": (spoil("route_data/date_YYYY_MM_DD", "2018-02-30"), "date_YYYY_MM_DD", "got '2018-02-30'"),
    "score": (spoil("route_data/route_score", 3), "route_score", "got 3"),
    "place negative": (spoil("actual_sequences/actual/3", -3), "", "got -3, allowed: 0 for the station"),
    "place twice": (spoil("actual_sequences/actual/3", 4), "", "got 4, allowed: 0 for the station"),
    "place is a fraction": (spoil("actual_sequences/actual/3", 3.0), "", "got 3.0, allowed: 0 for the station"),
    "the station is not first": (spoil("actual_sequences/actual/0", 1), "", "got 1, allowed: 0 for the station"),
    "stop not in the order": (spoil("actual_sequences/actual/3", DROP), "", "1 stops are not in both"),
    "unknown stop in the order": (spoil("actual_sequences/actual/zz", 3), "actual.zz", "1 stops are not in both"),
    "order is a list": (spoil("actual_sequences/actual", ["AA"]), "actual", "got ['AA']"),
    "negative seconds": (spoil(f"package_data/3/*/{SERVICE}", -1.0), f".{SERVICE}", "got -1.0"),
    "seconds NaN": (spoil(f"package_data/3/*/{SERVICE}", math.nan), f".{SERVICE}", "got nan"),
    "seconds as text": (spoil(f"package_data/3/*/{SERVICE}", "30"), f".{SERVICE}", "got '30'"),
    "no seconds": (spoil(f"package_data/3/*/{SERVICE}", DROP), f".{SERVICE}", "missing"),
    "no package": (spoil("package_data/3", {}), ".(packages)", "got 0"),
    "packages are a number": (spoil("package_data/3", -2), "", "got -2"),
    "package at the station": (spoil("package_data/0", {"PackageID_x": PACKAGE}), ".(packages)", "got 1"),
    "package at an unknown stop": (spoil("package_data/zz", {"PackageID_x": PACKAGE}), "zz", "no such stop"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_route_is_named_or_skipped(case, city, texts, write):
    change, field, reason = BAD[case]
    files = [json.loads(text) for text in texts]
    name = next(iter(files[ROUTES]))
    change(files)
    folder = write(*files)
    with pytest.raises(BrokenFile) as caught:
        load_almrrc(folder)
    message = str(caught.value)
    assert re.match(rf"\w+\.json: route {name}, field \S*{re.escape(field)}: ", message)
    assert reason in message
    assert "\n" not in message
    kept = load_almrrc(folder, on_error="skip")
    assert kept.route_id.tolist() == city.route_id[1:4].tolist()
    ((route, at, why),) = kept.skipped
    assert route == name
    assert at.endswith(field)
    assert reason in why
    assert re.match(r"\w+\.json: ", why)


def test_a_route_of_one_stop_is_refused(city, texts, write):
    routes, sequences, packages = map(json.loads, texts)
    name = next(iter(routes))
    order = sorted(sequences[name]["actual"], key=sequences[name]["actual"].get)
    for stop in order[2:]:
        del routes[name]["stops"][stop], sequences[name]["actual"][stop], packages[name][stop]
    folder = write(routes, sequences, packages)
    with pytest.raises(BrokenFile, match=rf"^route_data.json: route {name}, field stops: got 1 stations and 1 drop-offs"):
        load_almrrc(folder)
    assert len(load_almrrc(folder, on_error="skip").skipped) == 1


@pytest.mark.parametrize("which", [ROUTES, SEQUENCES, PACKAGES])
@pytest.mark.parametrize("share", [0.55, 0.9999])
def test_a_truncated_file_is_named_and_its_whole_routes_are_kept(which, share, city, texts, write):
    cut = list(texts)
    cut[which] = cut[which][: int(share * len(cut[which]))]
    inside = re.findall(r"RouteID_[0-9a-f-]{36}", cut[which])
    folder = write(*cut)
    with pytest.raises(BrokenFile, match=rf"^{FILES[which]}: route {inside[-1]}, field \(all\): not JSON, .* at character"):
        load_almrrc(folder)
    kept = load_almrrc(folder, on_error="skip")
    assert kept.route_id.tolist() == inside[:-1]
    assert {skipped.route for skipped in kept.skipped} == set(city.route_id[:4]) - set(inside[:-1])


@pytest.mark.parametrize("which", [ROUTES, SEQUENCES, PACKAGES])
@pytest.mark.parametrize(("good", "bad"), [(": {", ": ["), ('"', ""), ("}", ""), (", ", "; ")])
def test_after_a_malformed_route_the_others_are_read(which, good, bad, city, texts, write):
    spoilt = list(texts)
    third = spoilt[which].index(str(city.route_id[2]))
    place = spoilt[which].index(good, third + 44)
    spoilt[which] = spoilt[which][:place] + bad + spoilt[which][place + len(good) :]
    folder = write(*spoilt)
    with pytest.raises(BrokenFile, match=rf"^{FILES[which]}: route {city.route_id[2]}, field "):
        load_almrrc(folder)
    kept = load_almrrc(folder, on_error="skip")
    assert set(city.route_id[[0, 1]]) <= set(kept.route_id.tolist())
    assert city.route_id[2] in {skipped.route for skipped in kept.skipped}
    assert len(kept) + len({skipped.route for skipped in kept.skipped}) == 4


@pytest.mark.parametrize("content", ["", "[1, 2]", "null", "PK\x03\x04", b"\xff\xfe{}"])
def test_a_file_that_is_no_json_object_is_named(content, texts, write):
    folder = write(texts[0], content, texts[2])
    for on_error in ("raise", "skip"):
        with pytest.raises(BrokenFile, match=r"^actual_sequences\.json: "):
            load_almrrc(folder, on_error=on_error)


@pytest.mark.parametrize("absurd", ["[" * 100_000, "9" * 5000])
def test_absurd_json_is_one_bad_route(absurd, city, texts, write):
    """The parser has a limit for both that is no JSONDecodeError."""
    first, rest = texts[PACKAGES].split(": ", 1)
    folder = write(*texts[:2], f"{first}: {absurd}{rest}")
    with pytest.raises(BrokenFile, match=rf"^package_data\.json: route {city.route_id[0]}, field \(all\): not JSON"):
        load_almrrc(folder)
    assert len(load_almrrc(folder, on_error="skip")) == 3


def test_a_long_key_is_cut_in_the_message(texts, write):
    routes, sequences, packages = map(json.loads, texts)
    next(iter(sequences.values()))["actual"]["A\n" * 5000] = 1
    with pytest.raises(BrokenFile) as caught:
        load_almrrc(write(routes, sequences, packages))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from([ROUTES, SEQUENCES, PACKAGES]),
    place=st.floats(0, 1, exclude_max=True),
    cut=st.integers(0, 60),
    put=st.sampled_from(["", "{", "}", "[", '"', ",", ":", "NaN", "-1", "1e999", "RouteID_", "\\", "null"]),
)
def test_no_damage_of_a_file_gives_another_error_or_loses_a_route_silently(which, place, cut, put, texts, write):
    spoilt = list(texts)
    at = int(place * len(texts[which]))
    spoilt[which] = texts[which][:at] + put + texts[which][at + cut :]
    folder = write(*spoilt)
    message = ""
    try:
        kept = load_almrrc(folder)
    except BrokenFile as error:
        message = str(error)
    if message:
        swallowed = "stops are not in both the order and the route" in message  # seen in the next file only
        assert message.startswith(f"{FILES[which]}: ") or (which == ROUTES and swallowed)
        with suppress(BrokenFile):
            kept = load_almrrc(folder, on_error="skip")
            assert len(kept) < 4
            assert len(kept) + len({skipped.route for skipped in kept.skipped}) >= 4
    else:
        assert len(kept) == 4


def test_nothing_left_is_an_error(texts, write):
    with pytest.raises(BrokenFile, match="without a name"):
        load_almrrc(write("{}", "{}", "{}"))
    with pytest.raises(BrokenFile, match=r"none of its \d routes can be used"):
        load_almrrc(write("{}", "{}", "{}"), on_error="skip")


def test_routes_that_are_missing_or_too_many_or_there_twice(city, texts, write):
    routes, sequences, packages = map(json.loads, texts)
    one, two, three, four = routes
    del sequences[one]
    del packages[two]
    sequences["RouteID_new"] = sequences[four]
    doubled = json.dumps(packages)[:-1] + f', "{three}": {json.dumps(packages[three])}}}'
    folder = write(routes, sequences, doubled)
    with pytest.raises(BrokenFile, match=r"^actual_sequences\.json: route RouteID_new, .* no such route in route_data.json"):
        load_almrrc(folder)
    kept = load_almrrc(folder, on_error="skip")
    assert kept.route_id.tolist() == [four]
    assert {skipped.route: skipped.reason for skipped in kept.skipped} == {
        "RouteID_new": "actual_sequences.json: there is no such route in route_data.json",
        one: "actual_sequences.json: the route is missing",
        three: "package_data.json: the route is there twice",
        two: "package_data.json: the route is missing",
    }


def test_wrong_arguments(tmp_path):
    with pytest.raises(ParameterError, match=r"'split': got 'train' .*training, apply, evaluation"):
        load_almrrc(tmp_path, "train")
    with pytest.raises(ParameterError, match="'on_error': got 'ignore'"):
        load_almrrc(tmp_path, on_error="ignore")
    with pytest.raises(DataUnavailable, match="Registry of Open Data"):
        load_almrrc(tmp_path / "nowhere")
    with pytest.raises(ParameterError, match="'split'"):
        to_json(None, tmp_path, "train")


# The cache


def test_the_cache_is_read_as_long_as_the_files_are_the_same(city, texts, write, tmp_path, monkeypatch):
    folder, cache = write(*texts), tmp_path / "cache" / "routes.npz"
    first = load_almrrc(folder, cache=cache)
    assert cache.is_file()
    with monkeypatch.context() as patch:
        patch.setattr("entropy_utils.last_mile.almrrc._Reader", None)
        assert_same(load_almrrc(folder, cache=cache), first)
    routes, sequences, packages = map(json.loads, texts)
    del routes[city.route_id[0]], sequences[city.route_id[0]], packages[city.route_id[0]]
    assert len(load_almrrc(write(routes, sequences, packages), cache=cache)) == 3
    cache.write_bytes(b"PK\x03\x04 not a table")
    assert len(load_almrrc(folder, cache=cache)) == 3
    assert len(RouteTable.load(cache)) == 3
    whole = bytearray(cache.read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    cache.write_bytes(whole)
    with pytest.raises(BrokenFile):
        RouteTable.load(cache)
    assert len(load_almrrc(folder, cache=cache)) == 3


def test_a_bad_order_names_the_stop(texts, write):
    routes, sequences, packages = map(json.loads, texts)
    name = next(iter(sequences))
    stop = next(stop for stop, at in sequences[name]["actual"].items() if at == 3)
    sequences[name]["actual"][stop] = -3
    with pytest.raises(BrokenFile, match=rf"route {name}, field actual\.{stop}: got -3, allowed"):
        load_almrrc(write(routes, sequences, packages))


def test_a_stop_twice_is_refused(city, texts, write):
    """Its first packages would be lost without a word."""
    second = str(city.route_id[1])
    stop = str(city.stop[city.ptr[1] + 1])
    at = texts[PACKAGES].index("{", texts[PACKAGES].index(second)) + 1
    doubled = f'{texts[PACKAGES][:at]}"{stop}": {{}}, {texts[PACKAGES][at:]}'
    folder = write(texts[ROUTES], texts[SEQUENCES], doubled)
    with pytest.raises(BrokenFile, match=rf"package_data\.json: route {second}, .*'{stop}' is there twice"):
        load_almrrc(folder)
    assert load_almrrc(folder, on_error="skip").route_id.tolist() == city.route_id[[0, 2, 3]].tolist()
