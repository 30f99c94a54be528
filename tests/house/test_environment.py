"""The lock, the conda environment and the package metadata say the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.collection import ROOT

PYTHONS = ["3.11.0", "3.11.9", "3.12.1", "3.13.0"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]


def pins(python: str, system: str) -> dict[str, str]:
    """Name -> version of what the lock installs on a Python and a system."""
    where = {"python_full_version": python, "python_version": python.rsplit(".", 1)[0], "sys_platform": system}
    where |= {"platform_machine": "x86_64" if system == "linux" else "arm64", "os_name": "posix"}
    taken = [r for r in LOCK if r.marker is None or r.marker.evaluate(where)]
    names = [canonicalize_name(r.name) for r in taken]
    assert len(names) == len(set(names))
    return {canonicalize_name(r.name): next(iter(r.specifier)).version for r in taken}


def test_every_line_of_the_lock_is_one_exact_version():
    assert all([s.operator for s in r.specifier] == ["=="] and r.url is None for r in LOCK)


def test_the_lock_names_no_place_and_no_cuda():
    text = (ROOT / "requirements.txt").read_text()
    assert not re.search(r"://|^-|@|\.(com|org|io)\b", text, re.MULTILINE)
    assert not [r.name for r in LOCK if re.match(r"nvidia|cuda|triton", r.name)]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_the_lock_satisfies_the_ranges_of_the_package(python, system):
    locked = pins(python, system)
    extras = PROJECT["optional-dependencies"]
    for line in PROJECT["dependencies"] + extras["trl"] + extras["test"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), line
    assert locked["torch"] == "2.13.0"


def test_conda_installs_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert pip == ["-r requirements.txt", "-e ."]
    assert sorted(plain) == ["pip", "python=3.11"]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains("3.11.0")


def test_make_and_metadata_name_the_same_pythons():
    versions = {".".join(python.split(".")[:2]) for python in PYTHONS}
    allowed = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert versions == {f"3.{minor}" for minor in range(8, 20) if allowed.contains(f"3.{minor}.99")}
    assert versions == set(re.findall(r"python(3\.\d+)", (ROOT / "Makefile").read_text()))


def test_make_without_a_python_says_so_in_one_line(tmp_path):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    outer = {name: value for name, value in os.environ.items() if "MAKE" not in name}  # these tests may run inside make
    done = subprocess.run(["make", "run", "PYTHON="], cwd=tmp_path, env=outer, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.startswith("No Python 3.11, 3.12 or 3.13 with venv found")
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / ".venv").exists()
