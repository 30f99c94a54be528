"""Selection of tokens against a loop over sorted lists; chunks of documents put together again."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_utils.lab.errors import ParameterError
from entropy_utils.unlearning.answer_tokens import IGNORED
from entropy_utils.unlearning.selection import chunks, select


def plainly(log_prob, mask, share, how, random):
    """The places to forget of one instance, by sorting a list."""
    places = [t for t, counts in enumerate(mask) if counts]
    key = {"surprising": log_prob, "probable": [-x for x in log_prob], "random": random}[how]
    return set(sorted(places, key=lambda t: key[t])[: max(1, math.floor(share * len(places) + 0.5))])


@settings(deadline=None)
@given(
    st.integers(0, 2**30),
    st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]),
    st.sampled_from(["surprising", "random", "probable"]),
)
def test_selection_is_that_of_a_loop(seed, share, how):
    generator = torch.Generator().manual_seed(seed)
    log_prob = -torch.randint(0, 6, (2, 5, 9), generator=generator).float()  # with ties
    mask = torch.rand(2, 5, 9, generator=generator) < 0.6
    random = torch.rand(2, 5, 9, generator=generator)
    found = select(log_prob, mask, share, how, random)
    for at in [(s, n) for s in range(2) for n in range(5)]:
        expected = plainly(log_prob[at].tolist(), mask[at].tolist(), share, how, random[at].tolist())
        assert {t for t, chosen in enumerate(found[at].tolist()) if chosen} == expected


@pytest.mark.parametrize(
    ("length", "share", "count"),
    [
        (10, 0.25, 3),
        (9, 0.5, 5),
        (6, 0.25, 2),
        (3, 0.1, 1),
        (5, 1.0, 5),
        (7, 0.5, 4),
        (150, 0.21, 32),
        (50, 0.53, 27),
        (50, 0.29, 15),
    ],
)
def test_halves_round_up_and_one_is_the_least(length, share, count):
    log_prob = torch.arange(length, dtype=torch.float)
    assert select(log_prob, torch.ones(length, dtype=torch.bool), share).tolist() == [t < count for t in range(length)]


def test_each_instance_has_its_own_threshold():
    """A threshold over the whole batch would take everything from the hard text and nothing from the easy one."""
    log_prob = torch.tensor([[-9.0, -8.0, -7.0, -6.0], [-0.1, -0.2, -0.3, -0.4]])
    chosen = select(log_prob, torch.ones(2, 4, dtype=torch.bool), 0.5)
    assert chosen.tolist() == [[True, True, False, False], [False, False, True, True]]


def test_an_instance_without_answer_has_nothing_selected():
    assert not select(torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.bool), 0.5).any()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"share": 0.0}, "field 'share': got 0.0 (float), allowed: a number above 0 and at most 1"),
        ({"share": 1.5}, "field 'share': got 1.5 (float), allowed: a number above 0 and at most 1"),
        ({"share": float("nan")}, "field 'share': got nan"),
        ({"share": 0.5, "how": "first"}, "field 'how': got 'first' (str), allowed: 'surprising', 'random' or 'probable'"),
        ({"share": 0.5, "how": "random"}, "field 'random': got None (NoneType), allowed: uniform numbers"),
    ],
)
def test_wrong_settings_are_one_line(options, line):
    with pytest.raises(ParameterError, match=re.escape(line)):
        select(torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool), **options)


@given(st.integers(1, 60), st.integers(2, 20), st.integers(0, 19))
def test_chunks_put_together_are_the_document(n, length, context):
    context = min(context, length - 1)
    tokens = torch.arange(1, n + 1)
    batch = chunks(tokens, length, context)
    assert torch.equal(batch["input_ids"][batch["attention_mask"].bool()], tokens)
    counted = batch["labels"] != IGNORED
    assert torch.equal(batch["labels"][counted], batch["input_ids"][counted])
    expected = [place % length >= context or place < length for place in range(n)]
    assert counted[batch["attention_mask"].bool()].tolist() == expected
    assert not counted[~batch["attention_mask"].bool()].any()


@pytest.mark.parametrize(
    ("tokens", "length", "context", "line"),
    [
        (torch.zeros(0), 4, 0, "field 'tokens': got 'shape (0,)' (str), allowed: one sequence of at least one token"),
        (torch.zeros(5), 1, 0, "field 'length': got 1 (int), allowed: at least 2 tokens per chunk"),
        (torch.zeros(5), 4, 4, "field 'context': got 4 (int), allowed: from 0 to 3"),
    ],
)
def test_wrong_chunks_are_one_line(tokens, length, context, line):
    with pytest.raises(ParameterError, match=re.escape(line)):
        chunks(tokens, length, context)
