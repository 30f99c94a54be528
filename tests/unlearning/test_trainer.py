"""Unlearning through transformers.Trainer on a tiny GPT-2 and Llama: the loss, accumulation, resumption, divergence."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainingArguments

from entropy_utils.lab.errors import ParameterError
from entropy_utils.unlearning.answer_tokens import answer_log_prob
from entropy_utils.unlearning.diverged import Diverged
from entropy_utils.unlearning.objectives import OBJECTIVES, objective
from entropy_utils.unlearning.objectives.base import Output, mean_answer_nll
from entropy_utils.unlearning.readers import encode_documents, encode_text
from entropy_utils.unlearning.stacked_gpt2 import StackedGPT2
from entropy_utils.unlearning.trainer import LAST_GOOD, Rows, UnlearningTrainer, together
from entropy_utils.unlearning.unlearn import Unlearner
from tests.unlearning import tiny_models

KINDS = ("gpt2", "llama")
SHRED = {"name": "shred", "share": 0.25, "top": 16}


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    return tiny_models.save_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_models.save_model(tmp_path_factory.mktemp("one"), "llama")


def rows(which: slice):
    found = tiny_models.facts()[which]
    return encode_text(tiny_models.tokenizer(), [row["question"] for row in found], [row["answer"] for row in found])


FORGET, RETAIN = slice(0, 3), slice(3, 9)


def make(saved, folder, spec=SHRED, model=None, more=None, **changes):
    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 3, "max_steps": 3, "learning_rate": 1e-3,
        "lr_scheduler_type": "constant", "logging_steps": 1, "report_to": "none", "use_cpu": True, "disable_tqdm": True,
        "save_strategy": "no", "dataloader_pin_memory": False, "seed": 1,
    }  # fmt: skip
    model = model or AutoModelForCausalLM.from_pretrained(saved)
    args = TrainingArguments(**{**settings, **changes})
    return UnlearningTrainer(model, args, objective=spec, forget=rows(FORGET), retain=rows(RETAIN), **(more or {}))


def losses(trainer) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def weights(trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def probability(model, batch) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        log_prob, mask = answer_log_prob(model(input_ids=batch["input_ids"]).logits, batch["labels"])
    return (log_prob.sum(-1) / mask.sum(-1)).exp()


def test_rows_lose_their_padding_and_get_it_back():
    batch = encode_text(tiny_models.tokenizer(), ["Where", "Where was Ada born?"], ["in Rome.", "in Oslo"])
    data = Rows(batch)
    assert len(data[0]["input_ids"]) < len(data[1]["input_ids"]) == batch["input_ids"].shape[1]
    again = together([data[0], data[1]])
    assert again["row"].tolist() == [0, 1]
    for name in ("attention_mask", "labels"):
        assert again[name].equal(batch[name])
    seen = batch["attention_mask"] == 1
    assert again["input_ids"][seen].equal(batch["input_ids"][seen])


@pytest.mark.parametrize("spec", [{**SHRED, "share": 0.5, "variant": "B"}, "undial", "ceu", "npo", "gradient_ascent"])
def test_the_first_loss_is_the_objectives_own(llama, tmp_path, spec):
    trainer = make(llama, tmp_path, spec, max_steps=1)
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(first_loss(llama, spec), rel=1e-4, abs=1e-6)


def first_loss(saved, spec) -> float:
    model, batch, method = AutoModelForCausalLM.from_pretrained(saved), rows(FORGET), objective(spec)
    with torch.no_grad():
        said = Output(model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits)
    return method.loss(said, batch["labels"], method.prepare(said, batch["labels"])).item()


def test_targets_too_large_to_keep_are_made_in_every_step(llama, tmp_path):
    kept = make(llama, tmp_path / "a", "undial", per_device_train_batch_size=2)
    made = make(llama, tmp_path / "b", "undial", per_device_train_batch_size=2, more={"cache_bytes": 1000})
    kept.train()
    made.train()
    assert set(kept.targets) == {"q"}
    assert made.targets == {}
    torch.testing.assert_close(weights(kept), weights(made), rtol=1e-4, atol=1e-6)


def test_shred_forgets_the_facts_and_keeps_the_others(saved, tmp_path):
    spec = {**SHRED, "top": len(tiny_models.WORDS)}
    trainer = make(saved, tmp_path, spec, max_steps=25, learning_rate=3e-3)
    before = [probability(trainer.model, rows(which)) for which in (FORGET, RETAIN)]
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(first_loss(saved, spec), rel=1e-4)
    model = AutoModelForCausalLM.from_pretrained(saved)
    if model.config.model_type == "gpt2":  # the room's own loop, on a stack of one
        stack = StackedGPT2(model.config, [model.state_dict()])
        assert losses(trainer)[0] == pytest.approx(Unlearner(stack, rows(FORGET), spec, batch=3).step().item(), rel=1e-4)
    after = [probability(trainer.model, rows(which)) for which in (FORGET, RETAIN)]
    assert (before[0] > 0.95).all()
    assert (after[0] < 0.6).all()
    assert after[1].mean() > after[0].mean()


def test_accumulated_batches_make_the_same_step(llama, tmp_path):
    """All answers are equally long, so the mean over a batch is the mean of the means over its parts."""
    more = {"max_steps": 2, "optim": "sgd", "learning_rate": 0.1}  # Adam would turn rounding of tiny gradients into steps
    whole = make(llama, tmp_path / "a", **more)
    parts = make(llama, tmp_path / "b", per_device_train_batch_size=1, gradient_accumulation_steps=3, **more)
    whole.train()
    parts.train()
    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-4, atol=1e-6)
    assert losses(whole) == pytest.approx(losses(parts), rel=1e-3)


def test_evaluation_is_the_answers_nll(llama, tmp_path):
    trainer = make(llama, tmp_path, more={"eval_dataset": rows(RETAIN)}, per_device_eval_batch_size=6)
    with torch.no_grad():
        expected = trainer.model(**rows(RETAIN)).loss.item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-4)
    trainer.train()
    assert trainer.evaluate()["eval_loss"] != pytest.approx(expected, rel=1e-4)


def test_a_resumed_run_is_the_whole_run(llama, tmp_path):
    spec, more = "npo retain_weight=1", {"save_strategy": "steps", "save_steps": 2}
    whole = make(llama, tmp_path / "whole", spec, max_steps=4, per_device_train_batch_size=2, **more)
    whole.train()
    first = make(llama, tmp_path / "parts", spec, max_steps=2, per_device_train_batch_size=2, **more)
    first.train()
    rest = make(llama, tmp_path / "parts", spec, max_steps=4, per_device_train_batch_size=2, **more)
    rest.train(resume_from_checkpoint=True)
    assert not torch.equal(weights(first), weights(whole))
    torch.testing.assert_close(weights(rest), weights(whole), rtol=1e-5, atol=1e-7)


def test_retain_examples_change_from_step_to_step(llama, tmp_path, monkeypatch):
    seen = []
    trainer = make(llama, tmp_path, "grad_diff", max_steps=4)
    original = trainer._retained

    def spy(model, count):
        found = original(model, count)
        seen.append(found)
        return found

    monkeypatch.setattr(trainer, "_retained", spy)
    trainer.train()
    assert [len(found.labels) for found in seen] == [3] * 4
    assert len({found.labels.numpy().tobytes() for found in seen}) > 1
    model, (forget, kept) = AutoModelForCausalLM.from_pretrained(llama), (rows(FORGET), rows(RETAIN))
    places = [next(n for n, row in enumerate(kept["labels"]) if row.equal(labels)) for labels in seen[0].labels]
    with torch.no_grad():
        parts = [mean_answer_nll(model(input_ids=ids).logits, labels) for ids, labels in (
            (forget["input_ids"], forget["labels"]), (kept["input_ids"][places], kept["labels"][places])
        )]  # fmt: skip
    assert losses(trainer)[0] == pytest.approx((parts[1] - parts[0]).item(), rel=1e-3)


def test_rmu_keeps_what_the_frozen_model_thought(llama, tmp_path, monkeypatch):
    trainer, seen, read = make(llama, tmp_path, "rmu", max_steps=2), [], []
    kept, reading = trainer._retained, trainer._read

    def spy(model, count):
        found = kept(model, count)
        seen.append(trainer.objective.retain_loss(found).item())
        return found

    monkeypatch.setattr(trainer, "_retained", spy)
    monkeypatch.setattr(trainer, "_read", lambda batch: read.append(batch) or reading(batch))
    trainer.train()
    assert seen[0] == pytest.approx(0, abs=1e-9)
    assert seen[1] > 1e-6
    assert len(read) == 2  # the retain rows of both steps; what is to be forgotten needs no frozen model


def test_a_method_without_a_retain_term_needs_no_retain_set_and_no_frozen_model(llama, tmp_path):
    empty = {name: values[:0] for name, values in rows(RETAIN).items()}
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", max_steps=1, save_strategy="no")
    for spec in ("rmu retain_weight=0", "ceu"):
        model = AutoModelForCausalLM.from_pretrained(llama)
        trainer = UnlearningTrainer(model, args, objective=spec, forget=rows(FORGET), retain=empty)
        trainer.train()
        assert trainer.frozen is None


def test_whole_documents_are_forgotten_chunk_by_chunk(llama, tmp_path):
    told = [" ".join(row["answer"] for row in tiny_models.facts()[which]) for which in (FORGET, slice(3, 5))]
    forget = encode_documents(tiny_models.tokenizer(), told, length=12, context=2)
    assert len(forget["labels"]) > 2
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", max_steps=30, save_strategy="no", learning_rate=3e-3
    )
    model = AutoModelForCausalLM.from_pretrained(llama)
    trainer = UnlearningTrainer(model, args, objective="shred share=1 top=16", forget=forget)
    before = probability(model, forget)
    trainer.train()
    assert (probability(model, forget) < before / 2).all()


def test_a_random_selection_is_drawn_once(llama, tmp_path):
    with pytest.raises(ParameterError, match=r"'cache_bytes': got 10 .*a random selection is drawn once"):
        make(llama, tmp_path, {**SHRED, "how": "random"}, more={"cache_bytes": 10}).train()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_makes_a_step(llama, tmp_path, name):
    spec = objective(SHRED if name == "shred" else name)
    trainer = make(llama, tmp_path, spec, max_steps=2)
    before = weights(trainer).clone()
    trainer.train()
    assert len(losses(trainer)) == 2
    assert weights(trainer).isfinite().all()
    assert not weights(trainer).equal(before)


def test_a_loss_that_is_no_number_stops_the_run_and_saves_the_last_good_weights(llama, tmp_path):
    trainer = make(llama, tmp_path, max_steps=9, more={"keep_every": 1})
    kept, update = [], trainer._keep

    def broken():
        update()
        kept.append(copy.deepcopy(trainer.model.state_dict()))
        if trainer.state.global_step == 2:
            for p in trainer.model.parameters():
                p.grad = None
                p.data.mul_(torch.nan)

    trainer._keep = broken
    with pytest.raises(Diverged, match=r"after update 3 of shred: .* after 2 updates .*last_good"):
        trainer.train()
    good = AutoModelForCausalLM.from_pretrained(tmp_path / LAST_GOOD)
    for name, value in good.state_dict().items():
        torch.testing.assert_close(value, kept[2][name])
        torch.testing.assert_close(trainer.model.state_dict()[name], kept[2][name])


def test_weights_that_break_in_the_last_update_are_seen(llama, tmp_path):
    trainer = make(llama, tmp_path, max_steps=1, learning_rate=1e38)
    before = weights(trainer).clone()
    with pytest.raises(Diverged, match=r"weights .* after update 1 of shred: .* after 0 updates"):
        trainer.train()
    assert weights(trainer).equal(before)


def test_a_model_that_is_broken_from_the_start_is_reported(llama, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(llama)
    next(model.parameters()).data.fill_(torch.nan)
    with pytest.raises(Diverged, match=r"update 1 of npo: .*as it was given"):
        make(llama, tmp_path, "npo", model=model).train()


def test_errors_come_before_any_work(llama, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(llama)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")

    def refused(match, spec=SHRED, **changes):
        with pytest.raises(ParameterError, match=match):
            UnlearningTrainer(model, args, objective=spec, **{"forget": rows(FORGET), **changes})

    empty = {name: values[:0] for name, values in rows(FORGET).items()}
    refused("'forget': got 'no example'", forget=empty)
    refused("'retain': .*a retain term", "npo retain_weight=1")
    refused("top", {**SHRED, "top": 1000})
    refused("SHRAD|shrad", "shrad")
    refused("'layer': got 3 .*at most the model's 2 layers", "rmu layer=3", retain=rows(RETAIN))
    long = {name: values.repeat(1, 4) for name, values in rows(FORGET).items()}
    refused("'forget': got '64 tokens'.*at most the model's 32 positions", forget=long)
    question = rows(FORGET) | {"labels": torch.full_like(rows(FORGET)["labels"], -100)}
    refused("at least one answer token", forget=question)
