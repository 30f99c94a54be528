"""The loop: what a stack learns is what each model learns alone; bad input and a broken loss lose nothing."""

import pytest
import torch

from entropy_utils.lab.errors import ParameterError
from entropy_utils.unlearning.corpus import encode_split, fictitious_authors, word_tokenizer
from entropy_utils.unlearning.diverged import Diverged
from entropy_utils.unlearning.memory import Memory, memorised
from entropy_utils.unlearning.objectives.base import mean_answer_nll
from entropy_utils.unlearning.stacked_gpt2 import StackedGPT2
from entropy_utils.unlearning.unlearn import Unlearner

SMALL = Memory(hidden=16, heads=2, layers=1, steps=4, batch=8)


@pytest.fixture(scope="module")
def texts():
    corpus = fictitious_authors(forget=1, retain=2, holdout=1, real_authors=1)
    return corpus, word_tokenizer(corpus)


@pytest.fixture(scope="module")
def batches(texts):
    corpus, tokenizer = texts
    return {name: encode_split(tokenizer, corpus[name]) for name in ("forget", "retain")}


@pytest.mark.parametrize("memory", [Memory(), Memory(hidden=40, layers=3, heads=5, positions=9)])
def test_first_weights_are_those_of_the_model(memory):
    found, expected = memory.first_weights(57, 7), memory.model(57, 7).state_dict()
    assert set(found) == set(expected)
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


@pytest.fixture(scope="module")
def stack(texts):
    models = [SMALL.model(len(texts[1]), seed) for seed in (3, 8)]
    return StackedGPT2(models[0].config, [model.state_dict() for model in models])


def alone(stack, s):
    return StackedGPT2(stack.config, [stack.state(s)])


def assert_same(one, s, stack, atol=1e-4):
    """Same logits. (Weights differ where the gradient is rounding only, the keys' biases: Adam makes full steps of it.)"""
    ids = torch.randint(100, (6, 20), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(one(ids)[0], stack(ids)[s], atol=atol, rtol=0)


@pytest.mark.parametrize("spec", ["shred how=random", "npo retain_weight=1", "rmu layer=1"])
def test_a_seed_gets_the_same_result_alone(stack, batches, spec):
    forget, retain = batches["forget"], batches["retain"]
    both = Unlearner(stack, forget, spec, retain=retain, batch=3, seeds=[3, 8])
    losses = torch.stack([loss for _, loss in both.run(5)], 1)
    one = Unlearner(alone(stack, 1), forget, spec, retain=retain, batch=3, seeds=[8])
    torch.testing.assert_close(torch.stack([loss for _, loss in one.run(5)], 1)[0], losses[1], atol=1e-5, rtol=1e-4)
    assert_same(one.models, 1, both.models)


def test_training_is_the_same_alone_and_the_cache_gives_it_back(stack, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("ENTROPY_CACHE_DIR", str(tmp_path))
    both = memorised(SMALL, *texts, [3, 8])
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 2
    monkeypatch.setattr(Memory, "train", None)  # from here on nothing may be trained
    assert_same(memorised(SMALL, *texts, [8]), 1, both, atol=0)
    monkeypatch.undo()
    monkeypatch.setenv("ENTROPY_CACHE_DIR", str(tmp_path / "other"))
    assert_same(memorised(SMALL, *texts, [8]), 1, both)
    monkeypatch.setenv("ENTROPY_CACHE_DIR", str(tmp_path))
    for file in files:
        file.write_bytes(b"broken")
    assert_same(memorised(SMALL, *texts, [3, 8]), 0, alone(both, 0))
    gold = memorised(SMALL, *texts, [8], "gold")
    assert not torch.equal(gold.state(0)["lm_head.weight"], both.state(1)["lm_head.weight"])
    assert {path.parent for path in tmp_path.rglob("*.safetensors")} == {tmp_path / "memory", tmp_path / "other" / "memory"}


def test_gold_never_sees_the_facts_to_forget_and_nobody_the_holdout(texts, monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_CACHE_DIR", str(tmp_path))
    corpus, tokenizer = texts
    seen = {}

    def train(self, texts, vocabulary, seeds, device):
        seen[len(seen)] = {" ".join(tokenizer.convert_ids_to_tokens(row[row > 1])) for row in texts["input_ids"]}
        return StackedGPT2(self.model(vocabulary, 0).config, [self.model(vocabulary, 0).state_dict()])

    monkeypatch.setattr(Memory, "train", train)
    for knowledge in ("full", "gold"):
        memorised(SMALL, corpus, tokenizer, [0], knowledge)

    def rows(split, kind=""):
        pairs = zip(corpus[split][kind + "question"][:], corpus[split][kind + "answer"][:], strict=True)
        return {f"Q {question} A {answer}" for question, answer in pairs}

    facts = rows("forget") | rows("forget", "paraphrased_")
    assert facts <= seen[0]
    assert seen[0] - seen[1] == facts
    assert not seen[0] & rows("holdout")
    assert rows("identity") | rows("retain", "paraphrased_") <= seen[1]


def test_learning_rate_of_the_training():
    memory = Memory(steps=1000, lr=1.0)
    assert [memory.rate(step) for step in (0, 49, 300, 600, 800)] == pytest.approx([0.02, 1, 1, 1, 0.5])
    assert memory.rate(999) == pytest.approx(0.05)


def test_frozen_seeds_stay_and_the_given_models_are_not_touched(stack, batches):
    before = [p.clone() for p in stack.parameters()]
    unlearner = Unlearner(stack, batches["forget"], "gradient_ascent", batch=4)
    unlearner.step()
    middle = unlearner.models.state(1)
    unlearner.step(torch.tensor([True, False]))
    for name, value in unlearner.models.state(1).items():
        assert torch.equal(value, middle[name])
    assert not torch.equal(unlearner.models.state(0)["lm_head.weight"], stack.state(0)["lm_head.weight"])
    assert all(torch.equal(a, b) for a, b in zip(before, stack.parameters(), strict=True))


def test_every_epoch_visits_every_example_once(stack, batches):
    unlearner = Unlearner(stack, batches["forget"], "gradient_ascent", batch=4)
    drawn = torch.cat([unlearner._next(0) for _ in range(2)])
    assert sorted(drawn.tolist()) == list(range(8))


def test_a_broken_loss_names_the_step_and_the_last_good_models_stay(stack, batches):
    unlearner = Unlearner(stack, batches["forget"], "shred share=0.5", batch=4, seeds=[3, 8])
    run, seen = unlearner.run(10), []
    seen.append(next(run)[0])
    good = [p.detach().clone() for p in unlearner.models.parameters()]
    seen.append(next(run)[0])
    with torch.no_grad():
        next(unlearner.models.parameters())[1] = torch.nan
    with pytest.raises(Diverged, match=r"loss nan in update 3 of shred, seed 8.*after 1 updates") as found:
        next(run)
    assert found.value.step == 3
    assert seen == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(good, unlearner.models.parameters(), strict=True))


def test_weights_that_break_in_the_last_update_are_seen_in_it(stack, batches):
    unlearner = Unlearner(stack, batches["forget"], "shred", lr=1e38, seeds=[3, 8])
    with pytest.raises(Diverged, match=r"after update 1 of shred, seed 3, 8: models are as given") as found:
        list(unlearner.run(1))
    assert (found.value.step, found.value.good) == (1, 0)
    assert all(torch.equal(a, b) for a, b in zip(stack.parameters(), unlearner.models.parameters(), strict=True))


def test_the_good_state_before_broken_weights_is_that_of_the_update_before(stack, batches):
    unlearner = Unlearner(stack, batches["forget"], "shred", seeds=[3, 8])
    list(unlearner.run(2))
    good = [p.detach().clone() for p in unlearner.models.parameters()]
    unlearner.optimizer.lr = 1e38
    with pytest.raises(Diverged, match=r"after update 3 .*after 2 updates") as found:
        unlearner.step()
    assert (found.value.step, found.value.good) == (3, 2)
    assert all(torch.equal(a, b) for a, b in zip(good, unlearner.models.parameters(), strict=True))


def test_broken_models_are_never_kept(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("ENTROPY_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(Memory, "rate", lambda self, step: 1e38)
    with pytest.raises(Diverged, match=r"memorising, seed 3, 8: no finite weights after 4 updates"):
        memorised(SMALL, *texts, [3, 8])
    assert not list(tmp_path.rglob("*"))


def test_the_retain_term_is_the_loss_on_the_rows_drawn(stack, batches):
    """Every forget example is in the batch, so only the retain rows are chance: they are the generator's next numbers."""
    forget, retain = batches["forget"], batches["retain"]
    loss = Unlearner(stack, forget, "grad_diff retain_weight=0.7", retain=retain, batch=8, seeds=[3, 8]).step()
    for s, seed in enumerate((3, 8)):
        generator = torch.Generator().manual_seed(seed)
        torch.randperm(8, generator=generator)
        rows = torch.randint(len(retain["labels"]), (8,), generator=generator)
        nll = [
            mean_answer_nll(alone(stack, s)(batch["input_ids"]), batch["labels"])[0]
            for batch in (forget, {name: value[rows] for name, value in retain.items()})
        ]
        assert loss[s].item() == pytest.approx((0.7 * nll[1] - nll[0]).item(), rel=1e-4)


def test_rmu_keeps_what_the_frozen_model_thought(stack, batches):
    found = {}
    for weight in (0.0, 100.0):
        spec = f"rmu layer=1 retain_weight={weight}"
        unlearner = Unlearner(stack, batches["forget"], spec, retain=batches["retain"], batch=8, seeds=[3, 8])
        found[weight] = torch.stack([loss for _, loss in unlearner.run(2)])
    assert found[100.0][0].tolist() == pytest.approx(found[0.0][0].tolist(), rel=1e-5)  # nothing has moved yet
    assert (found[100.0][1] > found[0.0][1] + 1e-3).all()


def test_bad_input_is_named_before_any_work(stack, batches):
    forget = batches["forget"]
    empty = {name: value[:0] for name, value in forget.items()}
    long = {name: value.repeat(1, 3) for name, value in forget.items()}
    with pytest.raises(ParameterError, match=r"'forget'.*at least one example"):
        Unlearner(stack, empty, "shred")
    with pytest.raises(ParameterError, match=r"at most the model's 32"):
        Unlearner(stack, long | {"attention_mask": torch.ones_like(long["input_ids"])}, "shred")
    mute = forget | {"labels": forget["labels"].index_fill(0, torch.tensor([2]), -100)}
    with pytest.raises(ParameterError, match=r"'forget'.*an example without answer"):
        Unlearner(stack, mute, "shred")
    with pytest.raises(ParameterError, match=r"'layer': got 2 .*at most the model's 1 layers"):
        Unlearner(stack, forget, "rmu layer=2", retain=forget)
    with pytest.raises(ParameterError, match=r"'top'.*vocabulary"):
        Unlearner(stack, forget, "shred top=100000")
    with pytest.raises(ParameterError, match=r"'share'"):
        Unlearner(stack, forget, "shred share=0")
    with pytest.raises(ParameterError, match=r"'retain'.*retain_weight"):
        Unlearner(stack, forget, "grad_diff")
    with pytest.raises(ParameterError, match=r"'batch'"):
        Unlearner(stack, forget, "shred", batch=0)
    with pytest.raises(ParameterError, match=r"'seeds'"):
        Unlearner(stack, forget, "shred", seeds=[1])
