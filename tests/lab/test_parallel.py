"""`collect_all`: the same records as one by one, in the order given; a failure loses nothing else."""

import os

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
