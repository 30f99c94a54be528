"""The table of routes: views of one route, selections, files, and what it refuses."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from entropy_utils.lab.errors import BrokenFile, ParameterError
from entropy_utils.last_mile.route_table import PER_ROUTE, PER_STOP, RouteTable, Skipped


def columns() -> dict:
    """Two routes, of 3 and 2 drop-offs."""
    return {
        "ptr": [0, 4, 7],
        "n": [0, 2, 1, 3, 0, 1, 1],
        "lat": [34.0, 34.1, 34.2, 34.3, 47.0, 47.1, 47.2],
        "lng": [-118.0, -118.1, -118.2, -118.3, -122.0, -122.1, -122.2],
        "zone": [-1, 0, 0, 1, -1, -1, 1],
        "service": [0, 60, 30.5, 90, 0, 10, 20],
        "stop": ["AA", "NA", "BC", "ZZ", "QQ", "NA", "AB"],
        "zone_names": ["A-1.1A", "B-2.3J"],
        "route_id": ["RouteID_one", "RouteID_two"],
        "station_code": ["DLA7", "DSE5"],
        "score": ["High", ""],
        "date": ["2018-07-27", "2018-08-01"],
        "skipped": [("RouteID_bad", "lat", "got 91")],
    }


@pytest.fixture
def table() -> RouteTable:
    return RouteTable(**columns())


def assert_same(one: RouteTable, other: RouteTable) -> None:
    for field in dataclasses.fields(RouteTable):
        a, b = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)
        if isinstance(a, np.ndarray) and a.dtype.kind != "U":
            assert a.dtype == b.dtype, field.name


def test_a_route_is_a_view_without_its_station(table):
    assert len(table) == 2
    route = table.route(1)
    assert route.route_id == "RouteID_two"
    assert (route.station_lat, route.station_lng) == (47.0, -122.0)
    assert route.n.tolist() == [1, 1]
    assert route.lat.tolist() == [47.1, 47.2]
    assert route.stop.tolist() == ["NA", "AB"]
    assert np.shares_memory(route.n, table.n)
    assert [route.route_id for route in table] == table.route_id.tolist()


def test_derived_columns(table):
    assert table.metro.tolist() == ["DLA", "DSE"]
    assert table.sizes.tolist() == [3, 2]
    assert table.owner.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert table.seq.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert np.add.reduceat(table.n, table.starts).tolist() == [6, 2]


@pytest.mark.parametrize("which", [[1, 0], slice(None, None, -1), np.array([1, 0])])
def test_select_keeps_routes_whole_and_in_the_order_asked_for(table, which):
    turned = table.select(which)
    assert turned.route_id.tolist() == ["RouteID_two", "RouteID_one"]
    for i in (0, 1):
        for a, b in zip(turned.route(i), table.route(1 - i), strict=True):
            np.testing.assert_array_equal(a, b)
    assert_same(turned.select([1, 0]), table)


def test_select_by_mask(table):
    assert table.select(table.metro == "DSE").route_id.tolist() == ["RouteID_two"]
    with pytest.raises(ParameterError, match="no route"):
        table.select(table.metro == "DAU")


def test_save_and_load(table, tmp_path):
    table.save(tmp_path / "folder" / "routes.npz")
    loaded = RouteTable.load(tmp_path / "folder" / "routes.npz")
    assert_same(loaded, table)
    assert loaded.skipped == (Skipped("RouteID_bad", "lat", "got 91"),)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["routes.npz"]
    nothing_skipped = dataclasses.replace(table, skipped=())
    nothing_skipped.save(tmp_path / "routes.npz")
    assert RouteTable.load(tmp_path / "routes.npz").skipped == ()


def test_a_damaged_file_is_named(table, tmp_path):
    path = tmp_path / "routes.npz"
    table.save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BrokenFile, match=r"^routes\.npz: not a table of routes"):
        RouteTable.load(path)
    with pytest.raises(FileNotFoundError):
        RouteTable.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("n", 5, -3, "route RouteID_two, stop 1, field 'n': got -3 ("),
        ("n", 1, 0, "route RouteID_one, stop 1, field 'n': got 0 ("),
        ("n", 0, 1, "route RouteID_one, stop 0, field 'n': got 1 ("),
        ("n", 1, 40_000, ", stop 1, field 'n': got 40000 ("),
        ("n", 1, 1.5, ", stop 1, field 'n': got 1.5 ("),
        ("lat", 3, 90.5, "route RouteID_one, stop 3, field 'lat': got 90.5 ("),
        ("lat", 4, float("nan"), "route RouteID_two, stop 0, field 'lat': got nan ("),
        ("lng", 6, -181.0, "route RouteID_two, stop 2, field 'lng': got -181.0 ("),
        ("zone", 2, 2, "route RouteID_one, stop 2, field 'zone': got 2 ("),
        ("zone", 2, -2, ", stop 2, field 'zone': got -2 ("),
        ("service", 2, -1.0, ", stop 2, field 'service': got -1.0 ("),
        ("service", 2, float("inf"), ", stop 2, field 'service': got inf ("),
    ],
)
def test_wrong_numbers_are_refused_with_their_place(name, row, value, message):
    given = columns()
    given[name][row] = value
    with pytest.raises(ParameterError, match=re.escape(message)):
        RouteTable(**given)


def test_a_route_with_one_stop_is_refused():
    given = columns()
    given["ptr"] = [0, 5, 7]
    with pytest.raises(ParameterError, match=r"^route RouteID_two, field .* at least 2 drop-offs$"):
        RouteTable(**given)


@pytest.mark.parametrize("name", [*PER_STOP, *PER_ROUTE])
def test_columns_of_another_length_are_refused(name):
    given = columns()
    given[name] = given[name][:-1]
    with pytest.raises(ParameterError, match=f"'{name}': got 'shape"):
        RouteTable(**given)


@pytest.mark.parametrize("ptr", [[0], [1, 4, 7], [[0, 4, 7]]])
def test_a_ptr_that_is_none_is_refused(ptr):
    with pytest.raises(ParameterError, match="'ptr'"):
        RouteTable(**columns() | {"ptr": ptr})
