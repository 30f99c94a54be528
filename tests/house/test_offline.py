"""The whole collection at smoke, as `make run` does it, with every way off the machine closed.

The same by hand at another profile: ``PYTHONPATH=tests/house/offline python -m entropy_utils run --profile laptop``.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.collection import ROOT, WRITTEN, expect_complete

GUARD = ROOT / "tests" / "house" / "offline"


def python(arguments: list[str], log, **more) -> subprocess.CompletedProcess:
    paths = os.pathsep.join(filter(None, [str(GUARD), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "OFFLINE_LOG": str(log)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, text=True, capture_output=True, **more
    )


def test_the_guard_guards(tmp_path):
    done = python(["-c", "import socket; socket.create_connection(('192.0.2.1', 80), 1)"], tmp_path / "log")
    assert "offline: look-up of 192.0.2.1" in done.stderr
    assert (tmp_path / "log").read_text() == "look-up of 192.0.2.1\n"
    listen = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    assert python(["-c", listen], tmp_path / "log").returncode == 0


def test_the_collection_runs_at_smoke_without_a_network(tmp_path):
    log = tmp_path / "log"
    done = python(["-m", "entropy_utils", "run", "--profile", "smoke", "--out", str(tmp_path / "runs")], log)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert not log.exists(), log.read_text()
    assert "claims" in done.stdout
    for notebook in WRITTEN:
        expect_complete(tmp_path / "runs" / notebook.file, notebook, "smoke")
