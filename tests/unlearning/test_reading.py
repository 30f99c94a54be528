"""Batched reading and greedy answers against one example, one model, one token at a time."""

import pytest
import torch
from torch.nn import functional as F

from entropy_utils.unlearning import reading
from entropy_utils.unlearning.reading import greedy, read
from tests.unlearning.stub_stack import StubStack, decisive_model, random_batch


@pytest.fixture(scope="module")
def stack():
    return StubStack([decisive_model(seed) for seed in range(3)])


def one_token_at_a_time(model, question, most, end=1):
    ids = question.tolist()
    with torch.no_grad():
        while len(ids) < len(question) + most and end not in ids[len(question) :]:
            ids.append(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item())
    return ids[len(question) :]


@pytest.mark.parametrize("budget", [2**21, 100])  # in one block, and in blocks of one row
def test_reading_equals_one_example_at_a_time(stack, monkeypatch, budget):
    monkeypatch.setattr(reading, "BUFFERED", budget)
    batch = random_batch(0)
    found = read(stack, batch, entropy=True)
    correct = found.correct(batch["labels"])
    for s, model in enumerate(stack.models):
        for row, labels in enumerate(batch["labels"]):
            places = (labels != -100).nonzero()[:, 0]
            ids = batch["input_ids"][row, : places[-1] + 1]
            log_p = model(input_ids=ids[None]).logits[0].log_softmax(-1).detach()[places - 1]
            own = log_p.gather(1, ids[places, None])[:, 0]
            assert torch.allclose(found.log_prob[s, row, places - 1], own, atol=1e-4)
            assert torch.equal(found.choice[s, row, places - 1], log_p.argmax(-1))
            assert torch.allclose(found.entropy[s, row, places - 1], -(log_p.exp() * log_p).sum(-1), atol=1e-4)
            assert torch.equal(correct[s, row, places - 1], log_p.argmax(-1) == ids[places])
            outside = torch.ones(11, dtype=bool).index_fill(0, places - 1, False)
            assert not found.log_prob[s, row, outside].any()
            assert not correct[s, row, outside].any()


@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_one_token_at_a_time(stack, seed):
    batch = random_batch(seed)
    answers = greedy(stack, batch, read(stack, batch).choice, end=1)
    ended_early = 0
    for s, model in enumerate(stack.models):
        for row, labels in enumerate(batch["labels"]):
            places = (labels != -100).nonzero()[:, 0]
            expected = one_token_at_a_time(model, batch["input_ids"][row, : places[0]], len(places) + 3)
            assert answers[s, row, : len(expected)].tolist() == expected
            assert (answers[s, row, len(expected) :] == 1).all()
            ended_early += expected[-1] == 1
    assert ended_early > 0 or seed


class Counter(torch.nn.Module):
    """Knows one thing, to count: after token t comes t + 1, and after the last, 10, the end token 1."""

    def __init__(self):
        super().__init__()
        self.unused, self.passes = torch.nn.Parameter(torch.zeros(1)), 0

    def forward(self, ids):
        self.passes += 1
        return 9.0 * F.one_hot(torch.where(ids == 10, 1, ids + 1), 11).view(1, *ids.shape[-2:], 11)


@pytest.mark.parametrize(("answer", "passes"), [((7, 8, 9, 10, 1), 0), ((7, 8, 9, 2, 1), 2), ((7, 8, 1, 0, 0), 3)])
def test_a_draft_costs_passes_only_from_its_first_wrong_token_on(answer, passes):
    """The reading mends the first wrong token, every pass one more, and a last pass finds nothing to change."""
    ids = torch.tensor([[2, 6, *answer]])
    labels = torch.where(torch.tensor([[False, False, *[token > 0 for token in answer]]]), ids, -100)
    model, batch = Counter(), {"input_ids": ids, "labels": labels}
    choice = read(model, batch).choice
    model.passes = 0
    assert greedy(model, batch, choice, end=1)[0, 0].tolist()[:5] == [7, 8, 9, 10, 1]
    assert model.passes == passes


def test_the_mode_of_the_model_is_left_as_it_was(stack):
    stack.train()
    read(stack, random_batch(0))
    assert stack.training
    stack.eval()
    read(stack, random_batch(0))
    assert not stack.training
