"""`collect_all`: the same records as one by one, in the order given; a failure loses nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from entropy_utils import lab
from entropy_utils.policy_entropy.tabular import TabularAscent

SMALL = {"states": 3, "actions": 4, "steps": 5}


def test_it_gives_what_collect_gives_in_the_order_given():
    experiments = {name: TabularAscent(seed=seed, **SMALL) for name, seed in (("b", 2), ("a", 1))}
    before = dict(os.environ)
    histories = lab.collect_all(experiments, workers=2)
    assert list(histories) == ["b", "a"]
    for name, experiment in experiments.items():
        assert histories[name].records.equals(lab.collect(experiment).records)
        assert histories[name].experiment == experiment
    assert dict(os.environ) == before


def test_a_failing_experiment_is_named_and_the_others_are_kept(monkeypatch):
    good = TabularAscent(**SMALL)
    with pytest.raises(RuntimeError, match="1 of 2 experiments failed: bad") as caught:
        lab.collect_all({"bad": good.model_copy(update={"rule": 3, "lr": "x"}), "good": good}, workers=1)
    assert list(caught.value.histories) == ["good"]


PARENT = """
import sys
from entropy_utils import lab
from tests.lab.toy import Toy
if __name__ == "__main__":
    print("started", flush=True)
    lab.collect_all({str(n): Toy(steps=5000, pause_s=0.05, seed=n) for n in range(2)}, workers=2)
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(blow, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, cwd=root)
    parent.stdout.readline()
    me = psutil.Process(parent.pid)
    while not (workers := [child for child in me.children() if "spawn_main" in " ".join(child.cmdline())]):
        assert parent.poll() is None
        time.sleep(0.2)
    time.sleep(3)  # the workers have started
    parent.send_signal(blow)
    parent.wait(30)
    _, alive = psutil.wait_procs(workers, 30)
    assert alive == []
