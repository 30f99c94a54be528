"""`sweep`: what `collect` gives, side by side; killed workers, failures, interrupts and resumed sweeps lose nothing."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils import lab
from entropy_utils.lab import History, ParameterError, sweeps
from entropy_utils.policy_entropy.tabular import TabularAscent
from tests.lab.toy import Toy

ROOT = Path(__file__).parents[2]
SMALL = {"states": 3, "actions": 4, "steps": 5}


# which experiments


def test_a_grid_is_every_combination_with_the_last_field_fastest():
    found = lab.experiment_grid(Toy, {"rate": [1e-5, 0.1], "kind": ["odd", "plain"]}, range(2), "smoke", width=8)
    assert list(found)[:3] == ["rate=1e-05 kind=odd seed=0", "rate=1e-05 kind=odd seed=1", "rate=1e-05 kind=plain seed=0"]
    assert len(found) == 8
    assert found["rate=0.1 kind=plain seed=1"] == Toy.profile("smoke", rate=0.1, kind="plain", seed=1, width=8)


def test_a_grid_around_an_experiment_keeps_its_other_fields():
    base = Toy(steps=7, share=0.5)
    assert lab.experiment_grid(base, {"fast": [False]}) == {"fast=False": base.replace(fast=False)}
    assert lab.experiment_grid(base, steps=3) == {"Toy": base.replace(steps=3)}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(1e-9, 1, exclude_min=True), min_size=1, max_size=4, unique=True), st.sets(st.integers(0, 99)))
def test_names_of_a_grid_never_coincide(rates, seeds):
    found = lab.experiment_grid(Toy, {"rate": rates}, seeds)
    assert [(e.rate, e.seed) for e in found.values()] == [(rate, seed) for rate in rates for seed in seeds]


WRONG = {
    "class": (lambda: lab.sweep(int), "field 'experiment': got <class 'int'> (type), allowed: an Experiment"),
    "no list": (lambda: lab.sweep(Toy, {"rate": 0.1}), "field 'rate': got 0.1 (float), allowed: a list of values"),
    "text": (lambda: lab.sweep(Toy, {"kind": "odd"}), "field 'kind': got 'odd' (str), allowed: a list of values"),
    "value": (lambda: lab.sweep(Toy, {"rate": [0.1, 2.0]}), "field 'rate': got 2.0 (float), allowed: finite number"),
    "field": (lambda: lab.sweep(Toy, {"rat": [0.1]}), "unknown field 'rat': got 0.1 (float)"),
    "seed": (lambda: lab.sweep(Toy, seeds=[-1]), "field 'seed': got -1 (int)"),
    "seeds": (lambda: lab.sweep(Toy, seeds=3), "field 'seed': got 3 (int), allowed: a list of values"),
    "twice": (lambda: lab.sweep(Toy, {"seed": [1]}, seeds=[2]), "field 'seed': given twice"),
    "fixed": (lambda: lab.sweep(Toy, {"rate": [0.1]}, rate=0.1), "field 'rate': given twice"),
    "same": (lambda: lab.sweep(Toy, {"rate": [1, 1.0]}), "grid: rate=1.0 comes up twice"),
    "mapping": (lambda: lab.sweep({"a": Toy}), "field 'experiments['a']': got <class"),
    "both": (lambda: lab.sweep({"a": Toy()}, seeds=[1]), "grid, seeds, profile and fields: allowed with one experiment"),
    "workers": (lambda: lab.sweep(Toy, workers=0), "field 'workers': got 0 (int), allowed: integer from 1"),
    "file": (lambda: lab.sweep(Toy, directory=__file__), "field 'directory': got "),
}


@pytest.mark.parametrize(("call", "line"), WRONG.values(), ids=WRONG)
def test_wrong_parameters_are_one_line_before_anything_starts(call, line, monkeypatch):
    monkeypatch.setattr(sweeps, "_cluster", lambda *_: pytest.fail("started workers"))
    with pytest.raises(ParameterError) as caught:
        call()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_an_unreachable_scheduler_is_named(monkeypatch):
    monkeypatch.setattr(sweeps, "ANSWER_S", 0.3)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    with pytest.raises(
        ParameterError, match=r"^variable 'DASK_SCHEDULER_ADDRESS': got 'tcp://127.0.0.1:9' \(str\), allowed"
    ):
        lab.sweep({"a": Toy()})


def test_the_lab_and_an_empty_sweep_load_no_dask():
    code = "import sys; from entropy_utils import lab; assert lab.sweep({}) == {}; print('dask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "False\n"


# runs of a sweep


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The workers of a process: spawned by it or forked from its server."""
    family = process.children(recursive=True)
    lines = {}
    for one in family:
        with suppress(psutil.Error):
            lines[one.pid] = " ".join(one.cmdline())
    servers = {one.pid for one in process.children() if "forkserver" in lines.get(one.pid, "")}
    found = []
    for one in family:
        with suppress(psutil.Error):
            if one.ppid() in servers or "spawn_main" in lines.get(one.pid, ""):
                found.append(one)
    return found


class Threaded(TabularAscent):
    """Tells how many threads libraries may start, and whether the allocator is told to give memory back at once."""

    def run(self):
        trims = int(os.environ.get("MALLOC_TRIM_THRESHOLD_", 0)) < 2**30
        told = {"threads": os.environ["OMP_NUM_THREADS"], "trims": trims}
        yield from ({**told, **record} for record in super().run())


def test_it_gives_what_collect_gives_in_the_order_given_and_leaves_the_process_as_it_was(capfd):
    experiments = {name: Threaded(seed=seed, **SMALL) for name, seed in (("b", 2), ("a", 1), ("c", 3))}
    main = dict(vars(sys.modules["__main__"]))
    before = dict(os.environ)
    histories = lab.sweep(experiments, workers=2)
    assert list(histories) == ["b", "a", "c"]
    for name, experiment in experiments.items():
        plain = lab.collect(TabularAscent(seed=experiment.seed, **SMALL)).records
        assert histories[name].records.drop(columns=["threads", "trims"]).equals(plain)
        assert set(histories[name].records["threads"]) == {"1"}
        assert not histories[name].records["trims"].any()  # it makes tensors of a few hundred KB twice as slow
        assert histories[name].experiment is experiment
        assert histories[name].completed
        assert 2**24 < histories[name].peak_memory_bytes < 2**31
    assert dict(os.environ) == before
    assert dict(vars(sys.modules["__main__"])) == main
    assert psutil.wait_procs(workers_of(psutil.Process()), timeout=30)[1] == []
    out, err = capfd.readouterr()
    assert [line.split(" s (")[1].split(",")[0].rstrip(")") for line in out.splitlines()] == ["1 of 3", "2 of 3", "3 of 3"]
    assert err == ""


class Greedy(Toy):
    """Holds 200 MB in the run of seed 0."""

    def run(self):
        held = b"1" * (200_000_000 if self.seed == 0 else 1)
        yield {"held": len(held)}


class Deadly(Toy):
    """Notes in a file that it begins; kills its own process the first `kills` times."""

    log: str
    kills: int = 0

    def run(self):
        with open(self.log, "a") as log:
            log.write(f"{self.name}\n")
        yield {"step": 0}
        if Path(self.log).read_text().split().count(self.name) <= self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().run()


class Told(Toy):
    """What a run finds of the process that started the sweep."""

    def run(self):
        found = [os.environ.get(name) for name in ("ENTROPY_TOLD", "OMP_NUM_THREADS")]
        yield {"told": found[0], "threads": found[1], "folder": os.getcwd(), "drawn": np.random.rand()}  # noqa: NPY002


def test_runs_know_the_variables_and_the_code_of_now(tmp_path, monkeypatch):
    """And not those of the first sweep, from whose server all workers are forked."""

    def told():
        return pd.concat(one.records for one in lab.sweep(Told, seeds=range(2), workers=2).values())

    monkeypatch.setenv("ENTROPY_TOLD", "once")
    assert list(told()["told"]) == ["once", "once"]
    monkeypatch.setenv("ENTROPY_TOLD", "again")
    monkeypatch.chdir(tmp_path)
    found = told()
    assert list(found["told"]) == ["again", "again"]
    assert set(found["threads"]) == {"1"}
    assert set(found["folder"]) == {str(tmp_path)}
    assert found["drawn"].nunique() == 2
    monkeypatch.delenv("ENTROPY_TOLD")
    assert list(told()["told"]) == [None, None]

    monkeypatch.syspath_prepend(tmp_path)
    for number in (1, 2):
        (tmp_path / "edited_experiment.py").write_text(f"""
from tests.lab.toy import Toy
class Edited(Toy):
    def run(self):
        yield {{"number": {number}{" " * number}}}
""")
        sys.modules.pop("edited_experiment", None)
        (history,) = lab.sweep({"one": importlib.import_module("edited_experiment").Edited()}).values()
        assert list(history.records["number"]) == [number]


def test_killed_workers_and_errors_cost_no_other_run(tmp_path, capfd):
    log = str(tmp_path / "log")
    experiments = {
        "once": Deadly(name="once", log=log, kills=1, steps=4),
        "long": Deadly(name="long", log=log, steps=40, pause_s=0.1),
        "always": Deadly(name="always", log=log, kills=99),
        "bad": Deadly(name="bad", log=log, fail_at=2),
        "good": Deadly(name="good", log=log),
    }
    with pytest.raises(lab.SweepError, match=r"^2 of 5 experiments failed: .*bad \(RuntimeError: no <step> 2\)") as caught:
        lab.sweep(experiments, workers=2, directory=tmp_path / "kept")
    assert list(caught.value.histories) == ["once", "long", "good"]
    assert set(caught.value.errors) == {"always", "bad"}
    assert str(caught.value.errors["always"]) == "its worker was killed 3 times (out of memory?)"
    begun = Path(log).read_text().split()
    assert {name: begun.count(name) for name in experiments} == {"once": 2, "long": 1, "always": 3, "bad": 1, "good": 1}
    assert len(caught.value.histories["once"].records) == 5
    assert len(list((tmp_path / "kept").iterdir())) == 3
    out, err = capfd.readouterr()
    assert {name: out.count(f"{name}: its worker was killed, starts again\n") for name in experiments} == {
        "once": 1, "long": 0, "always": 2, "bad": 0, "good": 0,
    }  # fmt: skip
    assert out.count("\n") == 9
    assert err == ""


def test_a_run_in_a_used_worker_has_its_own_peak_memory():
    histories = lab.sweep(Greedy, seeds=range(2), workers=1, steps=1)
    first, second = (history.peak_memory_bytes for history in histories.values())
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a process cannot be reset on this system")
    assert first - second > 100e6


# a directory


def test_a_sweep_loads_what_is_whole_and_runs_the_rest(tmp_path, capsys, monkeypatch):
    experiments = lab.experiment_grid(TabularAscent, {"lr": [0.5, 1.0]}, range(2), **SMALL)
    first = lab.sweep(experiments, directory=tmp_path, workers=2)
    files = {path.name: path for path in tmp_path.iterdir()}
    assert sorted(name.rsplit("-", 1)[0] for name in files) == ["TabularAscent-seed0"] * 2 + ["TabularAscent-seed1"] * 2
    damaged, stopped, gone = list(files.values())[:3]
    damaged.write_text(damaged.read_text()[:500])
    stopped.write_text(json.dumps({**json.loads(stopped.read_text()), "completed": False}))
    gone.unlink()
    capsys.readouterr()
    again = lab.sweep(experiments, directory=tmp_path, workers=2)
    assert capsys.readouterr().out.splitlines()[0] == f"1 of 4 loaded from {tmp_path}"
    assert list(again) == list(first)
    for name in experiments:
        assert again[name].records.equals(first[name].records)
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    monkeypatch.setattr(sweeps, "_cluster", lambda *_: pytest.fail("started workers"))
    assert list(lab.sweep(experiments, directory=tmp_path)) == list(first)
    renamed = {"x": next(iter(experiments.values()))}
    assert list(lab.sweep(renamed, directory=tmp_path)) == ["x"]


def test_a_kept_run_is_of_the_same_class_parameters_and_code(tmp_path, monkeypatch):
    def file(experiment):
        return sweeps._file(experiment, sweeps._own_code(type(experiment)), "code")

    toy = Toy()
    other = type("Other", (Toy,), {"__module__": Toy.__module__})
    names = {file(e) for e in (toy, toy.replace(rate=0.5), toy.replace(seed=1), other())}
    assert len(names) == 4
    assert file(Toy()) == file(toy)
    package = tmp_path / "package"
    for path in ("lab/sweeps.py", "room/law.py"):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text("1")
    monkeypatch.setattr(sweeps, "PACKAGE", package)
    codes = [sweeps._package_code()]
    for path in ("lab/sweeps.py", "room/law.py"):
        (package / path).write_text("2")
        codes.append(sweeps._package_code())
    assert codes[0] == codes[1] != codes[2]
    monkeypatch.setattr(sweeps.entropy_utils, "__version__", "9")
    assert sweeps._package_code() != codes[2]


# whole processes

START = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from entropy_utils import lab; from tests.lab.toy import Toy"


def script(tmp_path, text: str, **more) -> subprocess.Popen:
    path = tmp_path / "script.py"
    path.write_text(f"{START}\n{text}\n")
    return subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True, cwd=tmp_path, **more)


def spawned(process: subprocess.Popen, number: int) -> list[psutil.Process]:
    """The workers of a process, once there are as many as asked for."""
    me = psutil.Process(process.pid)
    while len(workers := workers_of(me)) < number:
        assert process.poll() is None
        time.sleep(0.1)
    return workers


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent_and_the_next_sweep_goes_on(blow, tmp_path):
    """Of a plain script without a guard, whose experiment is its own."""
    text = """
class Mine(Toy):
    pass
lab.sweep({str(n): Mine(steps=5000 if n else 1, pause_s=0.05, seed=n) for n in range(3)}, workers=2, directory="kept")
"""
    parent = script(tmp_path, text, stderr=subprocess.PIPE, start_new_session=True)
    assert parent.stdout.readline() == "0 of 3 loaded from kept\n"
    assert parent.stdout.readline().startswith("0: 1 records, 0 s (1 of 3, about ")
    workers = spawned(parent, 2)
    time.sleep(0.5)
    os.killpg(parent.pid, blow) if blow == signal.SIGINT else parent.send_signal(blow)  # Ctrl-C reaches the whole group
    _, err = parent.communicate(timeout=120)
    _, alive = psutil.wait_procs(workers, 30)
    assert alive == []
    assert err.strip().endswith("KeyboardInterrupt") == (blow == signal.SIGINT)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    if blow == signal.SIGINT:
        assert "distributed" not in err.replace(str(Path(sweeps.__file__)), "").split("KeyboardInterrupt")[-1]
        return
    parent = script(tmp_path, text.replace("range(3)", "range(1)"))
    assert parent.communicate(timeout=120)[0] == "1 of 1 loaded from kept\n"


def test_a_cluster_from_the_environment_runs_them(tmp_path, monkeypatch, capsys):
    from distributed import LocalCluster

    options = {"scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}, "dashboard_address": None, "memory_limit": 0}
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True, **options) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        experiments = lab.experiment_grid(TabularAscent, seeds=range(3), **SMALL)
        histories = lab.sweep(experiments, directory=tmp_path)
    for name, experiment in experiments.items():
        assert histories[name].records.equals(lab.collect(experiment).records)
    assert sorted(History.load(path).experiment.seed for path in tmp_path.iterdir()) == [0, 1, 2]


def test_it_works_inside_a_kernel(tmp_path):
    from jupyter_client.manager import start_new_kernel

    code = f"""
{START}
class Typed(lab.Experiment):
    def run(self):
        yield {{"seed": self.seed}}
for _ in range(2):
    found = lab.sweep(Typed, seeds=range(2), workers=1, directory={str(tmp_path)!r})
print([int(history.records["seed"][0]) for history in found.values()])
"""
    manager, client = start_new_kernel(kernel_name="python3")
    said = {"stdout": "", "stderr": ""}
    try:

        def keep(message):
            content = message["content"]
            said[content.get("name", "stderr")] += content.get("text", "") + "\n".join(content.get("traceback", ""))

        client.execute_interactive(code, output_hook=lambda m: "status" in m["msg_type"] or keep(m), timeout=300)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    lines = said["stdout"].splitlines()
    assert lines[0] == f"0 of 2 loaded from {tmp_path}"
    assert lines[-2:] == [f"2 of 2 loaded from {tmp_path}", "[0, 1]"]
