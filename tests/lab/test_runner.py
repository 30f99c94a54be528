"""The runner on a small collection of its own: good and bad notebooks, resume, kills, Ctrl-C, exit codes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from entropy_utils.__main__ import app
from entropy_utils.lab.errors import BrokenFile, ParameterError
from entropy_utils.lab.execute import RunCard, claims_path, load_claims
from entropy_utils.lab.publish import compact, publish, stale
from entropy_utils.lab.runner import Runner
from tests.throwaway import claim, collection, entry, notebook

TABLE = "lesson.claims_table()"
DOCUMENTED = 'not_reproduced.smoke = "too small"\nnot_reproduced.laptop = "too small"'
KILL_ONCE = """import os, pathlib, signal
flag = pathlib.Path("killed-once")
if not flag.exists():
    flag.write_text("")
    os.kill(os.getpid(), signal.SIGKILL)"""
PICTURE = """from matplotlib.figure import Figure
fig = Figure(figsize=(2, 1))
fig.subplots().plot([0, 1])
lab.show(fig, "**Figure 1.** A line.", "A rising line")"""


def write_collection(folder: Path) -> Path:
    """00 holds, 01 kills its kernel the first time, 02 is planned, 03 leaves early, 04 fails a claim, 05 is slow."""
    measure = 'lesson.claim("00.low", [0.5, 0.7])\nlesson.claim("00.high", 2.0)'
    notebook(folder / "notebooks", "00", ["# A heading", PICTURE, measure, TABLE])
    notebook(folder / "notebooks", "01", [KILL_ONCE, "1 + 1"])
    notebook(folder / "notebooks", "03", ["import sys\nsys.exit(0)", "print('never')"])
    notebook(folder / "notebooks", "04", ['lesson.claim("04.low", 3.0)', TABLE])
    notebook(folder / "notebooks", "05", ["import time\ntime.sleep(60)", "print('never')"], opened=False)
    entries = [
        entry("00", more=claim("00.low") + claim("00.high", DOCUMENTED)),
        entry("01"),
        entry("02", "planned"),
        entry("03"),
        entry("04", more=claim("04.low") + claim("04.forgotten")),
        entry("05").replace("smoke = 60", "smoke = 2"),
    ]
    return collection(folder, entries)


def runner(folder: Path, **settings) -> Runner:
    return Runner(
        **{
            "out": folder / "out",
            "collection": folder / "collection.toml",
            "notebooks": folder / "notebooks",
            **settings,
        }
    )


def run(folder: Path, resume: bool = False, **settings) -> tuple[int, str]:
    """Exit code and everything printed."""
    text = io.StringIO()
    code = runner(folder, **settings).run(resume, jobs=2, console=Console(file=text, width=200))
    return code, text.getvalue()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The collection after its first run: folder, exit code, printed text."""
    folder = tmp_path_factory.mktemp("collection")
    write_collection(folder)
    return folder, *run(folder)


@pytest.fixture
def again(first, tmp_path):
    """A copy of the collection after its first run, to change at will."""
    shutil.copytree(first[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def card(folder: Path, id: str) -> RunCard:
    return RunCard.load(folder / "out", id)


def test_a_failure_leaves_the_others_alone(first):
    folder, code, text = first
    assert code == 1
    assert {id: card(folder, id).status for id in ("00", "01", "03", "04", "05")} == {
        "00": "completed",
        "01": "failed",
        "03": "failed",
        "04": "completed",
        "05": "failed",
    }
    assert "DeadKernel" in card(folder, "01").error
    assert "did not complete" in card(folder, "03").error
    assert "after 4 seconds" in card(folder, "05").error  # two notebooks at a time: twice the limit
    assert card(folder, "05").wall_s < 30
    assert "planned" in text


def test_the_card_says_what_ran(first):
    found = card(first[0], "00")
    assert found.cells == found.cells_completed == 6  # the injected parameters count
    assert found.peak_memory_bytes > 20e6
    assert found.claims == {"reproduced": 1, "not reproduced": 1}
    assert found.device == "cpu"
    assert {"python", "entropy_utils", "numpy"} <= set(found.versions)
    executed = nbformat.read(first[0] / "out" / "00_throwaway.ipynb", as_version=4)
    assert "seed = 0" in executed.cells[1].source


def test_claims_decide_the_exit_code(first):
    folder, _, text = first
    assert [row["verdict"] for row in load_claims(folder / "out", "00")] == ["reproduced", "not reproduced"]
    assert [row["verdict"] for row in load_claims(folder / "out", "04")] == ["not reproduced", "not measured"]
    assert "04.low: not reproduced" in text
    assert "04.forgotten: not measured" in text
    everything = json.loads((folder / "out" / "claims.json").read_text())
    assert [row["id"] for row in everything] == ["00.low", "00.high", "04.low", "04.forgotten"]
    assert run(folder, resume=True, only=("00",))[0] == 0  # a documented failure does not fail the run


def test_resume_runs_what_failed_or_broke_and_keeps_the_rest(again):
    path, before = again / "out" / "00.card.json", card(again, "04")
    path.write_text(path.read_text()[:40])
    code, text = run(again, resume=True, only=("00", "01", "04"))
    assert code == 1  # a claim of 04
    assert card(again, "00").status == card(again, "01").status == "completed"
    assert card(again, "04") == before
    assert "00.card.json': truncated" in text
    assert "01: runs, failed last time" in text
    assert "04: kept" in text


def test_resume_runs_what_is_stale(again):
    checked = runner(again)
    by_id = {n.id: n for n in checked.written}
    assert checked.reason(by_id["00"]) is None
    assert "seed" in runner(again, seed=1).reason(by_id["00"])
    path = checked.source(by_id["00"])
    path.write_text(path.read_text().replace("[0.5, 0.7]", "[0.5, 0.8]"))
    assert "code_sha" in checked.reason(by_id["00"])
    path = again / "collection.toml"
    path.write_text(path.read_text().replace("Throwaway 04", "Throwaway four"))
    changed = runner(again)
    assert "entry_sha" in changed.reason({n.id: n for n in changed.written}["04"])


@pytest.mark.parametrize("name", ["00.card.json", "00.claims.json", "00_throwaway.ipynb"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_broken_file_is_named_and_only_its_notebook_runs_again(again, name, damage):
    path = again / "out" / name
    whole = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(whole[: len(whole) // 2])
    checked, text = runner(again, only=("00", "04")), io.StringIO()
    assert checked.report(Console(file=text, width=300)) == 1
    assert f"{path}': {damage}" in text.getvalue()
    reasons = {n.id: checked.reason(n) for n in checked.written}
    assert reasons["04"] is None
    assert f"{path}': {damage}" in reasons["00"]


def command(folder: Path, *more: str) -> list[str]:
    settings = {"collection": folder / "collection.toml", "notebooks": folder / "notebooks", "out": folder / "out"}
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "entropy_utils", "run", *options, *more]


def sleeping_collection(folder: Path) -> None:
    """00 ends at once; 01 writes the number of its kernel process and sleeps."""
    notebook(folder / "notebooks", "00", ["1 + 1"])
    sleep = 'import os, pathlib, time\npathlib.Path("kernel").write_text(str(os.getpid()))\ntime.sleep(100)'
    notebook(folder / "notebooks", "01", [sleep])
    collection(folder, [entry("00"), entry("01").replace("smoke = 60", "smoke = 200")])


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.1)


def test_ctrl_c_stops_the_kernels_and_leaves_what_is_done(tmp_path):
    sleeping_collection(tmp_path)
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(tmp_path / "out" / "00.card.json")
    wait_for(tmp_path / "notebooks" / "kernel")
    kernel = psutil.Process(int((tmp_path / "notebooks" / "kernel").read_text()))
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in text
    assert not kernel.is_running()
    assert card(tmp_path, "00").status == "completed"
    assert not (tmp_path / "out" / "01.card.json").exists()


def test_a_killed_worker_takes_nothing_with_it(tmp_path):
    sleeping_collection(tmp_path)
    process = subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(tmp_path / "notebooks" / "kernel")
    kernel = psutil.Process(int((tmp_path / "notebooks" / "kernel").read_text()))
    kernel.parent().kill()
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "01: its worker ended" in text
    assert card(tmp_path, "00").status == "completed"
    psutil.wait_procs([kernel], timeout=10)
    assert not kernel.is_running()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--profile", "huge"], "allowed: smoke or laptop or gpu or hub"),
        (["--only", "02"], "'02' is planned, not written; written: 00, 01"),
        (["--only", "77"], "got '77' (str), allowed: 00, 01, 02"),
        (["--seed", "-1"], "integer from 0"),
        (["--jobs", "0"], "integer from 1"),
        (["--notebooks", "nowhere"], "the folder of the notebooks"),
        (["--collection", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, more, says):
    notebook(tmp_path / "notebooks", "00", [])
    notebook(tmp_path / "notebooks", "01", [])
    collection(tmp_path, [entry("00"), entry("01"), entry("02", "planned")])
    done = CliRunner().invoke(app, command(tmp_path, *more)[3:])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_notebook_is_named_before_anything_runs(tmp_path):
    collection(tmp_path, [entry("00")])
    (tmp_path / "notebooks").mkdir()
    with pytest.raises(BrokenFile, match=r"00_throwaway\.ipynb': missing"):
        runner(tmp_path).run()


README = """# Title
<!-- notebooks:begin -->
<!-- notebooks:end -->
Between.
<!-- claims:begin -->
old
<!-- claims:end -->
"""


def test_publish_keeps_what_a_reader_can_use(again, monkeypatch):
    monkeypatch.chdir(again)
    readme = Path("README.md")
    readme.write_text(README)
    chosen = Runner(only=("00",), out=Path("out"), collection=Path("collection.toml"), notebooks=Path("notebooks"))
    assert len(stale(Runner(only=("00",), out=Path("out"), collection=Path("collection.toml")), readme)) == 2
    path = chosen.source(chosen.written[0])
    before = nbformat.read(path, as_version=4)
    publish(chosen, readme)
    assert stale(chosen, readme) == []
    nb = nbformat.read(path, as_version=4)
    assert [cell.source for cell in nb.cells] == [cell.source for cell in before.cells]
    assert [cell.id for cell in nb.cells] == [cell.id for cell in before.cells]
    assert [cell.execution_count for cell in nb.cells if cell.cell_type == "code"] == [1, 2, 3, 4, 5]
    assert set(nb.metadata) == {"kernelspec", "language_info", "entropy_utils"}
    assert all(set(cell.metadata) <= {"tags"} for cell in nb.cells)
    picture = [output for output in nb.cells[3].outputs if "image/png" in output.data]
    assert picture[0].metadata["image/png"]["alt"] == "A rising line"
    text = readme.read_text()
    assert "| 00.low |" in text
    assert "Between." in text
    assert "old" not in text
    assert "| 02 | Throwaway 02 |" in text

    path.write_text(path.read_text().replace("[0.5, 0.7]", "[0.5, 0.8]"))
    assert "older than the code" in stale(chosen, readme)[0]
    with pytest.raises(BrokenFile, match="other code"):
        publish(chosen, readme)


def test_publish_refuses_a_failed_run(again, monkeypatch):
    monkeypatch.chdir(again)
    chosen = Runner(only=("01",), out=Path("out"), collection=Path("collection.toml"), notebooks=Path("notebooks"))
    with pytest.raises(BrokenFile, match="01 failed"):
        publish(chosen, Path("README.md"))


def test_profile_is_checked_before_anything():
    with pytest.raises(ParameterError, match="profile"):
        Runner(profile="huge")


def test_claims_file_is_atomic(first):
    out = first[0] / "out"
    assert not list(out.glob("*.part"))
    assert claims_path(out, "00").is_file()
    assert os.listdir(out / "partial") == []


def test_a_published_picture_is_the_same_in_fewer_bytes():
    fig, file = Figure(figsize=(6, 4)), io.BytesIO()
    ax, x = fig.add_subplot(), np.linspace(0, 6, 200)
    for phase in range(8):  # lines and overlapping bands: thousands of blended colours
        ax.plot(x, np.sin(x + phase))
        ax.fill_between(x, np.sin(x + phase) - 0.3, np.sin(x + phase) + 0.3, alpha=0.2)
    fig.savefig(file, format="png")
    smaller = compact(file.getvalue())
    assert len(smaller) < 0.7 * len(file.getvalue())
    shown = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) for png in (file.getvalue(), smaller)]
    assert abs(shown[0] - shown[1]).mean() < 2
    assert np.quantile(abs(shown[0] - shown[1]), 0.99) < 16
    assert compact(smaller) == smaller
