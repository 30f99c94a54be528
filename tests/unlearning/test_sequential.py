"""Requests one after the other: when each ends, and that stacked models do not notice each other."""

import pytest
import torch

from entropy_utils.lab.errors import ParameterError
from entropy_utils.unlearning.corpus import encode_split, fictitious_authors, word_tokenizer
from entropy_utils.unlearning.memory import Memory
from entropy_utils.unlearning.relearning import remembered
from entropy_utils.unlearning.sequential import _rows, sequential
from entropy_utils.unlearning.stacked_gpt2 import StackedGPT2

METHOD = "shred share=0.5"


@pytest.fixture(scope="module")
def corpus():
    return fictitious_authors(0, forget=2, retain=1, holdout=1, real_authors=1)


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return word_tokenizer(corpus)


@pytest.fixture(scope="module")
def models(corpus, tokenizer):
    """Two seeds that know the facts of two people by heart, and nothing else."""
    memory = Memory(hidden=32, layers=1, heads=2, steps=120, batch=16, lr=1e-2)
    return memory.train(encode_split(tokenizer, corpus["forget"]), len(tokenizer), [0, 1])


def utility(models):
    return [{"utility": float(s), "retain_fact_accuracy": 1.0} for s in range(models.replicas)]


def serve(models, corpus, tokenizer, **settings):
    return list(sequential(models, corpus, tokenizer, METHOD, utility, **{"lr": 1e-3, "every": 4, **settings}))


def test_each_request_runs_until_its_own_person_is_forgotten(models, corpus, tokenizer):
    before = [p.clone() for p in models.parameters()]
    for person in dict.fromkeys(corpus["forget"]["person"]):
        assert (remembered(models, *_rows(tokenizer, corpus["forget"], {person}))["fact_prob"] > 0.5).all()
    records = serve(models, corpus, tokenizer, until=0.1)
    assert [(r["request"], r["seed"]) for r in records] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [r["person"] for r in records] == [p for p in dict.fromkeys(corpus["forget"]["person"]) for _ in "01"]
    for record in records:
        assert record["served"]
        assert record["fact_prob_request"] < 0.1
        assert record["step"] % 4 == 0
        assert record["utility"] == record["seed"]
    assert all(r["fact_prob"] == pytest.approx(r["fact_prob_request"]) for r in records if r["request"] == 1)
    assert all(torch.equal(a, b) for a, b in zip(before, models.parameters(), strict=True))


def test_a_finished_model_waits_untouched_for_the_others(models, corpus, tokenizer):
    """Alone, each seed goes through the same numbers as in the stack, though the seeds need different numbers of steps."""
    together = serve(models, corpus, tokenizer, every=1, until=0.2)
    assert len({r["step"] for r in together if r["request"] == 1}) == 2
    for seed in (0, 1):
        single = StackedGPT2(models.config, [models.state(seed)])
        for one, record in zip(
            serve(single, corpus, tokenizer, every=1, until=0.2, seeds=[seed]),
            [r for r in together if r["seed"] == seed],
            strict=True,
        ):
            assert {**one, "utility": 0} == pytest.approx({**record, "utility": 0}, rel=1e-2, abs=1e-6)


def test_a_request_that_takes_too_long_is_given_up_and_one_already_met_costs_nothing(models, corpus, tokenizer):
    records = serve(models, corpus, tokenizer, until=1e-6, most=3)
    assert {(r["step"], r["served"]) for r in records} == {(3, False)}
    records = serve(models, corpus, tokenizer, until=0.999999)
    assert {(r["step"], r["served"]) for r in records} == {(0, True)}


def test_wrong_settings_are_named(models, corpus, tokenizer):
    for field, value in (("until", 0), ("every", 0), ("most", True)):
        with pytest.raises(ParameterError, match=f"'{field}': got"):
            serve(models, corpus, tokenizer, **{field: value})
