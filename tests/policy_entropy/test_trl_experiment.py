"""The run on real models, on a tiny one: records, errors before any work, the command line, rewards of answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

pytest.importorskip("trl")

from entropy_utils import lab
from entropy_utils.lab.errors import DataUnavailable, ParameterError
from entropy_utils.policy_entropy import verifiable_rewards
from entropy_utils.policy_entropy.trl import RealGRPO, train
from tests.policy_entropy import tiny_policy

SMALL = {
    "prompts": 4, "responses": 4, "minibatches": 2, "sequences": 4, "max_response": 6, "lr": 0.01, "device": "cpu",
    "evaluate_every": 2, "evaluation_prompts": 4, "steps": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, and the same data as a folder and as a file; no network."""
    folder = tmp_path_factory.mktemp("real")
    tiny_policy.save_model(folder / "model")
    rows = tiny_policy.dataset(24)
    rows.save_to_disk(str(folder / "rows"))
    rows.to_json(folder / "rows.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder


@pytest.fixture
def real(place, monkeypatch):
    def digits(completions, **_):
        return tiny_policy.reward(completions)

    monkeypatch.setattr("entropy_utils.policy_entropy.real_models.reward_of", lambda dataset: digits)
    return lambda **changes: RealGRPO(**{"model": str(place / "model"), "dataset": str(place / "rows"), **SMALL, **changes})


def test_a_run_yields_one_record_per_rollout(real):
    history = lab.collect(real(intervention="clip_b share=0.5", dataset=real().dataset + ".jsonl"), progress=False)
    records = history.records
    assert records["step"].tolist() == [0, 1, 2]
    assert records["accuracy"].notna().tolist() == [True, False, True]
    assert records["reward"].between(0, 1).all()
    assert (records["pass_at_k"] >= records["reward"]).all()
    assert records["entropy"].between(0.1, 3.7).all()
    assert records["acted_on"].max() > 0
    assert records["accepted"].max() <= 4
    assert history.completed


def test_a_stopped_run_stops_training_and_an_interrupted_one_goes_on(real, tmp_path):
    output = str(tmp_path / "kept")
    whole = lab.collect(real(output=str(tmp_path / "whole"), save_every=1), progress=False).records
    run = real(output=output, save_every=1, steps=3).run()
    assert next(run)["step"] == 0
    run.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "training"]
    with pytest.raises(ParameterError, match=r"field 'output': .*allowed: a folder without checkpoints, or resume"):
        next(real(output=output).run())
    rest = lab.collect(real(output=output, save_every=1, resume=True), progress=False).records
    assert 0 < len(rest) < 3
    for name in ("step", "reward", "entropy", "accuracy"):
        assert rest[name].fillna(-1).tolist() == whole[name].fillna(-1).tolist()[-len(rest) :]


def test_what_goes_wrong_in_training_is_raised_where_the_records_are_read(real, monkeypatch):
    def broken(completions, **_):
        raise RuntimeError("no reward today")

    monkeypatch.setattr("entropy_utils.policy_entropy.real_models.reward_of", lambda dataset: broken)
    with pytest.raises(RuntimeError, match="no reward today"):
        next(real().run())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequences": 5}, r"prompts 4 x responses 4 = 16, allowed: a multiple of minibatches 2 x sequences 5 x processes"),
        ({"intervention": "reference_kl", "beta": 0.1}, r"beta 0\.1: allowed is 0, reference_kl has a penalty"),
        ({"resume": True}, "resume True without output"),
        (
            {"dataset": "nowhere"},
            "dataset 'nowhere': allowed are openai/gsm8k, open-r1/DAPO-Math-17k-Processed, or a folder",
        ),
        ({"steps": 0}, "field 'steps': got 0"),
        ({"lr": "1e-6"}, "field 'lr'"),
        ({"intervention": "kl_kov"}, "field 'intervention'"),
        ({"stepz": 3}, "unknown field 'stepz'"),
    ],
)
def test_wrong_settings_stop_before_any_work(real, changes, message):
    with pytest.raises(ParameterError, match=message) as error:
        real(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dataset": "openai/gsm8k"}, DataUnavailable, "dataset 'openai/gsm8k' .*under HF_HOME=.*fetch it there"),
        ({"model": "Qwen/Qwen2.5-0.5B-Instruct"}, DataUnavailable, r"model 'Qwen/Qwen2\.5-0\.5B-Instruct': .*HF_HOME=.*"),
        ({"split": "test"}, None, ""),  # a data set without splits has but one
        ({"evaluation_prompts": 22}, ParameterError, "24 rows.* at least 4 prompts . 22 for evaluation"),
        ({"max_prompt": 2}, ParameterError, r"0 rows.* of at most 2 tokens"),
        ({"output": "{tmp}", "resume": True}, ParameterError, "a folder with a checkpoint to resume from"),
    ],
)
def test_what_is_not_there_is_one_line_that_says_what_to_put_where(real, tmp_path, changes, error, message):
    changes = {name: x.format(tmp=tmp_path) if isinstance(x, str) else x for name, x in changes.items()}
    run = real(**changes).run()
    if error is None:
        assert next(run)["step"] == 0
        run.close()
        return
    with pytest.raises(error, match=message) as found:
        next(run)
    assert "\n" not in str(found.value)


def test_files_that_are_no_data_set_are_named(tmp_path):
    (tmp_path / "rows.csv").write_text("a")
    with pytest.raises(ParameterError, match=r"field 'dataset': .*rows\.csv.* allowed: a folder of Dataset"):
        verifiable_rewards.questions(str(tmp_path / "rows.csv"), "train")
    with pytest.raises(DataUnavailable, match="allowed: a folder of Dataset"):
        verifiable_rewards.questions(str(tmp_path), "train")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1 + 1 =", "result": "2"}\n')
    with pytest.raises(ParameterError, match="one with column 'answer', got prompt, result"):
        verifiable_rewards.questions(str(tmp_path / "rows.jsonl"), "train")


def test_the_command_line_has_every_field_and_runs_offline(place, tmp_path):
    command = [sys.executable, "-m", "entropy_utils.policy_entropy.trl"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    helped = subprocess.run([*command, "--help"], env=environment, capture_output=True, text=True)
    assert helped.returncode == 0
    for field in RealGRPO.model_fields:
        assert f"--{field.replace('_', '-')} " in helped.stdout
    settings = {**SMALL, "steps": 2, "model": place / "model", "dataset": place / "rows", "output": tmp_path / "out"}
    options = [text for name, x in settings.items() for text in (f"--{name.replace('_', '-')}", str(x))]
    done = subprocess.run(
        [*command, *options, "--intervention", "kl_cov share=0.2"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [record["step"] for record in records] == [0, 1]


def test_a_wrong_setting_on_the_command_line_is_one_line_and_code_2(capsys):
    assert train(steps=0) == 2
    assert capsys.readouterr().err.startswith("field 'steps': got 0 (int), allowed: integer from 1")


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        (r"so \boxed{72}", "72", True),
        (r"\boxed{71} no, \boxed{72}", "72", True),
        (r"\boxed{72} no, \boxed{71}", "72", False),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", True),
        (r"\boxed{1000}", "1000", True),
        ("72", "72", False),
        (r"\boxed{72", "72", False),
        ("", "72", False),
    ],
)
@pytest.mark.parametrize("installed", [True, False])
def test_the_last_boxed_answer_counts(monkeypatch, completion, answer, right, installed):
    if installed:
        pytest.importorskip("math_verify")
    else:
        monkeypatch.setitem(sys.modules, "math_verify", None)
    assert verifiable_rewards.right_number(completion, answer) is right


def test_equal_numbers_written_differently_need_math_verify():
    pytest.importorskip("math_verify")
    assert verifiable_rewards.right_number(r"\boxed{0.5}", r"\frac{1}{2}")
    reward = verifiable_rewards.reward_of("openai/gsm8k")
    conversation = [{"role": "assistant", "content": r"\boxed{72}"}]
    assert reward(completions=[conversation, r"\boxed{3}"], answer=["72", "4"]) == [1.0, 0.0]


def test_local_answers_are_compared_as_text_and_references_cut_out(monkeypatch):
    from datasets import Dataset

    reward = verifiable_rewards.reward_of("rows.jsonl")
    assert reward(completions=["1 2", "12 3"], answer=["12", "12"], prompts=["", ""]) == [1.0, 0.0]
    rows = Dataset.from_dict({"question": ["How many?"], "answer": ["6 * 200 = 1200 <<>>\n#### 1,200"]})
    monkeypatch.setattr(verifiable_rewards, "_public", lambda name, split: rows)
    (row,) = verifiable_rewards.questions("openai/gsm8k", "train")
    assert row["answer"] == "1200"
    assert row["prompt"].startswith("How many?")
    assert "boxed" in row["prompt"]


def test_without_trl_the_error_says_what_to_install():
    code = "import sys; sys.modules['trl'] = None; from entropy_utils.policy_entropy.trl import RealGRPO, EntropyGRPOTrainer"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'trl is missing: pip install "entropy-collection[trl]"' in done.stderr.splitlines()[-1]
