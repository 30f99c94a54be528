"""Notebook 02 at full size, 6,112 synthetic routes: their entropies, and their JSON read by us and by a pandas loop."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from entropy_utils.last_mile.almrrc import SERVICE, SPLITS, load_almrrc
from entropy_utils.last_mile.almrrc_writer import to_json
from entropy_utils.last_mile.structural_entropy import boltzmann_entropy, evenness, normalised_entropy, route_entropies
from entropy_utils.last_mile.synthetic_city import ROUTES, synthetic_almrrc
from tests.bench.timing import alternate, row, seconds

SOME = 400  # routes that the loops go over
GIB = 2**30


def bench_entropies() -> list[dict]:
    """S, eta, H and J of all routes at once, against one route after the other (timed on some of them)."""
    table = synthetic_almrrc()
    some = [route.n for route in table.select(slice(0, SOME))]

    def one_by_one():
        return [(boltzmann_entropy(n), normalised_entropy(n), evenness(n)) for n in some]

    ours, peer = alternate(lambda: route_entropies(table), one_by_one, 5)
    name = f"last_mile, entropies of {ROUTES} routes, {len(table.n) - ROUTES} stops"
    return [row(name, ours, peer * ROUTES / SOME, "route by route, scaled up", "s", "< 0.3 s", ours < 0.3)]


def bench_json() -> list[dict]:
    """Reading the JSON of all routes: time and memory; and of some, against a pandas loop."""
    synthetic_almrrc(10)  # compiles
    make = seconds(synthetic_almrrc)
    table = synthetic_almrrc()
    with tempfile.TemporaryDirectory() as folder:
        few, full = Path(folder) / "few", Path(folder) / "full"
        to_json(table.select(slice(0, SOME)), few)
        to_json(table, full)
        ratio = alternate(lambda: load_almrrc(few), lambda: pandas_loop(few), 3)
        read = seconds(lambda: load_almrrc(full))
        size = sum((full / name).stat().st_size for name in SPLITS["training"])
        peak = peak_of_loading(full)
    scaled = ratio[1] * ROUTES / SOME
    return [
        row(f"last_mile, JSON of {SOME} routes", *ratio, "pandas loop", "s", "<= 1/3", ratio[0] <= ratio[1] / 3),
        row(f"last_mile, JSON of {ROUTES} routes", read, scaled, "pandas loop, scaled up", "s", "< 25 s", read < 25),
        row("last_mile, peak memory of that", peak / GIB, size / GIB, "the files", "GiB", "< 4 GiB", peak < 4 * GIB),
        row(f"last_mile, synthetic city of {ROUTES} routes", make, read, "its JSON read", "s", "< 10 s", make < 10),
    ]


def pandas_loop(folder: Path) -> pd.DataFrame:
    """The stops of all routes with their packages, one data frame per route: what one would write first."""
    routes, sequences, packages = (json.loads((folder / name).read_text()) for name in SPLITS["training"])
    frames = []
    for name, route in routes.items():
        stops = pd.DataFrame.from_dict(route["stops"], orient="index").assign(route_id=name)
        stops["seq"] = pd.Series(sequences[name]["actual"])
        listed = [(stop, package[SERVICE]) for stop, held in packages[name].items() for package in held.values()]
        loads = pd.DataFrame(listed, columns=["stop", "service"]).groupby("stop").service.agg(["size", "sum"])
        frames.append(stops.join(loads).fillna({"size": 0, "sum": 0}).sort_values("seq"))
    return pd.concat(frames)


def peak_of_loading(folder: Path) -> int:
    """The most memory in bytes that a process of its own holds while it reads the JSON."""
    code = (
        "import sys; from entropy_utils.last_mile.almrrc import load_almrrc; load_almrrc(sys.argv[1]);"
        "from tests.bench.token_statistics import highest; print(highest())"
    )
    run = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True)
    return int(run.stdout)
