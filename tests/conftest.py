"""Cheap tests first: a mistake shows in seconds, notebooks and browser run last."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
LATE = [
    "tests/lab/test_runner.py",
    "tests/notebooks/test_papermill.py",
    "notebooks",
    "tests/house/test_offline.py",
    "tests/browser",
]


def pytest_collection_modifyitems(items):
    def lateness(item) -> int:
        place = item.path.relative_to(ROOT).as_posix()
        return next((number for number, late in enumerate(LATE, 1) if place.startswith(late)), 0)

    items.sort(key=lateness)
