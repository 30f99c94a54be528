"""The run on a real model and TOFU's files, on a tiny one: records, errors before any work, going on after a stop."""

from __future__ import annotations

import threading

import pytest
import torch

from entropy_utils import lab
from entropy_utils.lab.errors import DataUnavailable, ParameterError
from entropy_utils.unlearning.diverged import Diverged
from entropy_utils.unlearning.pretrained import PretrainedUnlearning
from entropy_utils.unlearning.trainer import UnlearningTrainer
from tests.unlearning import tiny_models


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Full and retrained model, and the data, in one folder; no network."""
    folder = tmp_path_factory.mktemp("hub")
    tiny_models.save_model(folder / "full")
    tiny_models.save_model(folder / "retrained", rows=slice(3, 9))
    tiny_models.save_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


@pytest.fixture
def tiny(place):
    def make(**changes):
        settings = {
            "model": str(place / "full"), "retrained": str(place / "retrained"), "dataset": str(place), "max_length": 32,
            "objective": {"name": "shred", "share": 0.25, "top": 16}, "steps": 12, "batch": 3, "lr": 3e-3,
            "evaluate_every": 5, "device": "cpu", "schedule": "constant",
        }  # fmt: skip
        return PretrainedUnlearning(**{**settings, **changes})

    return make


def test_a_run_forgets_and_measures_itself(tiny):
    history = lab.collect(tiny(), progress=False)
    records = history.records
    assert records["step"].tolist() == [0, 5, 10, 12]
    assert len(records) == tiny().length()
    assert records["loss"].notna().tolist() == [False, True, True, True]
    assert records["forget_prob"].iloc[0] > 0.95
    assert records["forget_prob"].iloc[-1] < 0.8
    assert records["forget_prob"].iloc[-1] < records["retain_prob"].iloc[-1]
    assert records["utility"].between(0, 1).all()
    assert records["forget_quality"].between(0, 1).all()
    assert records["auc"].iloc[0] == 1
    assert records["privleak"].iloc[0] < -90
    assert history.completed


def test_without_a_retrained_model_and_holdout_their_numbers_are_left_out(tiny):
    record = next(tiny(retrained="", holdout="").run())
    assert record["step"] == 0
    assert not {"privleak", "auc", "forget_quality"} & set(record)
    assert {"utility", "forget_prob", "forget_rouge"} <= set(record)


def test_a_stopped_run_stops_training_and_goes_on(tiny, tmp_path):
    more = {"save_every": 2, "evaluate_every": 2, "steps": 6, "holdout": "", "retrained": ""}
    whole = lab.collect(tiny(output=str(tmp_path / "whole"), **more), progress=False).records
    output = str(tmp_path / "parts")
    run = tiny(output=output, **more).run()
    assert [next(run)["step"] for _ in range(3)] == [0, 2, 4]
    run.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "training"]
    with pytest.raises(ParameterError, match=r"field 'output': .*allowed: a folder without checkpoints, or resume"):
        next(tiny(output=output, **more).run())
    rest = lab.collect(tiny(output=output, resume=True, **more), progress=False).records
    assert 0 < len(rest) < 3
    for name in ("step", "forget_prob", "utility"):
        assert rest[name].tolist() == pytest.approx(whole[name].tolist()[-len(rest) :], rel=1e-4)


def test_only_an_objective_with_a_retain_term_reads_the_retain_set(tiny):
    next(tiny(retain="missing", retrained="", holdout="").run())
    with pytest.raises(DataUnavailable, match="subset 'missing'"):
        next(tiny(retain="missing", objective="grad_diff").run())


def test_a_broken_run_ends_with_the_last_good_state_and_leaves_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lab.collect(tiny(steps=1, retrained="", holdout=""), progress=False)
    assert not list(tmp_path.iterdir())
    keep = UnlearningTrainer._keep

    def keep_and_break(self):
        self.keep_every = 1
        keep(self)
        if self.state.global_step == 6:
            for p in self.model.parameters():
                p.data.mul_(torch.nan)

    monkeypatch.setattr(UnlearningTrainer, "_keep", keep_and_break)
    with pytest.raises(Diverged, match=r"weights .* after update 7 of shred: .* after 6 updates .*last_good") as found:
        lab.collect(tiny(retrained="", holdout=""), progress=False)
    records = found.value.history.records
    assert records["step"].tolist() == [0, 5, 6]
    assert records["loss"].notna().tolist() == [False, True, False]
    assert records["utility"].notna().all()
    (folder,) = tmp_path.iterdir()
    assert (folder / "last_good" / "model.safetensors").is_file()
    assert str(folder) in str(found.value)


def test_errors_name_the_field_before_any_work(tiny, tmp_path):
    for changes, error, match in (
        ({"model": str(tmp_path)}, DataUnavailable, r"model '.*': neither a local folder.*save_pretrained"),
        ({"dataset": "locuslab/TOFU"}, DataUnavailable, r"'locuslab/TOFU', subset 'forget10'.*put|name a folder"),
        ({"forget": "forget05"}, DataUnavailable, "nothing there for subset 'forget05'"),
        ({"max_length": 512}, ParameterError, "'max_length': got 512 .*at most the model's 32 positions"),
        ({"max_length": 5}, ParameterError, "'max_length': got 5 .*before the answer"),
        ({"objective": {"name": "shred", "top": 500}}, ParameterError, "top"),
        ({"evaluated": ("forget10", *tiny().evaluated[1:])}, ParameterError, "'evaluated': .*wrong answers"),
    ):
        with pytest.raises(error, match=match):
            next(tiny(**changes).run())
    for changes, match in (
        ({"objective": "shrad"}, "objective"),
        ({"objective": "shred share=1.5"}, "share"),
        ({"resume": True}, "resume True without output"),
        ({"lr": 0.0}, "'lr'"),
    ):
        with pytest.raises(ParameterError, match=match):
            tiny(**changes)
