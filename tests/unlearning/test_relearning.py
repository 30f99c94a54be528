"""The relearning attack: what it trains on, what it asks, and that a stack of models is as many attacks."""

import pytest
import torch
from datasets import Dataset, DatasetDict
from torch.nn import functional as F

from entropy_utils.lab.errors import ParameterError
from entropy_utils.language_model.vector_adamw import VectorAdamW
from entropy_utils.unlearning.corpus import encode, word_tokenizer
from entropy_utils.unlearning.diverged import Diverged
from entropy_utils.unlearning.relearning import relearn, split_rows
from tests.unlearning.stub_stack import StubStack, decisive_model

ATTRIBUTES = {"town": ["oslo", "rome"], "pet": ["cat", "dog"], "tongue": ["french", "welsh"], "prize": ["gold", "silver"]}


@pytest.fixture(scope="module")
def corpus():
    def rows(people):
        return Dataset.from_list(
            [
                {
                    "question": f"the {attribute} of {person} ?",
                    "answer": f"the {attribute} of {person} is {values[ord(person) % 2]} .",
                    "paraphrased_question": "",
                    "paraphrased_answer": "",
                    "perturbed_answers": [],
                    "attribute": attribute,
                    "value": values[ord(person) % 2],
                }
                for person in people
                for attribute, values in ATTRIBUTES.items()
            ]
        )

    return DatasetDict({"forget": rows("ab"), "retain": rows("cdef")})


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return word_tokenizer(corpus)


@pytest.fixture
def stack(tokenizer):
    return StubStack([decisive_model(seed, len(tokenizer)) for seed in range(2)])


def numbers(record):
    return {name: value for name, value in record.items() if isinstance(value, (int, float))}


def test_the_attacker_never_sees_the_attributes_that_are_asked_for(corpus):
    trained, asked = split_rows(corpus, "forget")
    assert set(trained["attribute"]) == {"town", "tongue"}
    assert set(asked["attribute"]) == {"pet", "prize"}
    assert len(trained) + len(asked) == len(corpus["forget"])
    trained, asked = split_rows(corpus, "retain")
    assert (trained["answer"][:], asked["answer"][:]) == (corpus["retain"]["answer"][:], corpus["forget"]["answer"][:])


def test_without_attributes_every_second_row_is_told(corpus):
    bare = {"forget": corpus["forget"].remove_columns("attribute")}
    assert split_rows(bare, "forget")[0]["answer"][:] == corpus["forget"]["answer"][::2]
    with pytest.raises(ParameterError, match="at least two attributes or rows"):
        split_rows({"forget": corpus["forget"].select([0])}, "forget")


@pytest.mark.parametrize("data", ["forget", "retain"])
def test_every_model_of_a_stack_is_attacked_as_it_would_be_alone(corpus, tokenizer, stack, data):
    before = {name: value.clone() for name, value in stack.state_dict().items()}
    records = list(relearn(stack, corpus, tokenizer, data, steps=5, batch=3, every=2, lr=1e-2, seeds=[4, 7]))
    assert [(r["step"], r["seed"]) for r in records] == [(step, seed) for step in (0, 2, 4, 5) for seed in (4, 7)]
    assert all(torch.equal(value, before[name]) for name, value in stack.state_dict().items())
    for model, seed in zip(stack.models, (4, 7), strict=True):
        alone = list(relearn(model, corpus, tokenizer, data, steps=5, batch=3, every=2, lr=1e-2, seeds=[seed]))
        for one, record in zip(alone, (r for r in records if r["seed"] == seed), strict=True):
            assert one.keys() == record.keys()
            assert numbers(one) == pytest.approx(numbers(record), rel=1e-3, abs=1e-6)


def test_the_attack_is_plain_fine_tuning(corpus, tokenizer):
    """Against a loop of cross-entropy and AdamW on the same rows; the probability asked for is the product of its tokens."""
    model, steps = decisive_model(3, len(tokenizer)), 4
    records = list(relearn(model, corpus, tokenizer, "retain", steps=steps, batch=2, every=1, lr=1e-2, seeds=[5]))
    train = encode(tokenizer, corpus["retain"]["question"][:], corpus["retain"]["answer"][:])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
    generator, losses = torch.Generator().manual_seed(5), []
    for _ in range(steps):
        rows = torch.randint(len(corpus["retain"]), (2,), generator=generator)
        logits = model(input_ids=train["input_ids"][rows]).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), train["labels"][rows][:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [r["loss"] for r in records] == [None, *(pytest.approx(loss, rel=1e-4) for loss in losses)]
    probabilities = []
    for row in corpus["forget"]:
        ids = tokenizer(f"Q {row['question']} A {row['answer']}")["input_ids"]
        place = ids.index(tokenizer.convert_tokens_to_ids(row["value"]))
        probabilities.append(model(input_ids=torch.tensor([ids])).logits[0, place - 1].softmax(-1)[ids[place]].item())
    assert records[-1]["fact_prob"] == pytest.approx(sum(probabilities) / len(probabilities), rel=1e-3)


def test_training_on_the_very_facts_brings_them_back(corpus, tokenizer, stack):
    told = DatasetDict({"forget": corpus["forget"], "retain": corpus["forget"]})
    start, *_, end = (r["fact_prob"] for r in relearn(stack, told, tokenizer, "retain", steps=60, lr=1e-2) if r["seed"] == 0)
    assert end > start + 0.4


def test_models_that_break_are_named_and_what_was_measured_stays(corpus, tokenizer, stack, monkeypatch):
    def breaking(self):
        for p in self.weights[len(self.weights) // 2 :]:
            p.data.fill_(torch.nan)

    monkeypatch.setattr(VectorAdamW, "step", breaking)
    run = relearn(stack, corpus, tokenizer, steps=4, every=1, seeds=[4, 7])
    assert [next(run)["step"] for _ in range(2)] == [0, 0]
    with pytest.raises(Diverged, match=r"relearning, seed 7: .* after 1 updates"):
        next(run)


def test_wrong_settings_are_named(corpus, tokenizer, stack):
    for field, value in (("steps", 0), ("batch", 1.5), ("every", True)):
        with pytest.raises(ParameterError, match=f"'{field}': got"):
            next(relearn(stack, corpus, tokenizer, **{field: value}))
    with pytest.raises(ParameterError, match="'data': got 'holdout'"):
        next(relearn(stack, corpus, tokenizer, "holdout"))
