"""The tiny model: its size, its seed, and what importing the room costs."""

import subprocess
import sys

import pytest
import torch

from entropy_utils import language_model
from entropy_utils.language_model import tiny_causal_lm


def test_default_size_and_kind():
    model = tiny_causal_lm(15)
    assert 95_000 < sum(p.numel() for p in model.parameters()) < 110_000
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not [m for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.p]
    assert model(torch.zeros(2, 64, dtype=torch.long)).logits.shape == (2, 64, 15)
    large = tiny_causal_lm(256, hidden=128, layers=6, heads=8, intermediate=512)
    assert 1e6 < sum(p.numel() for p in large.parameters()) < 2e6


def test_weights_are_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = tiny_causal_lm(15, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    same, other = tiny_causal_lm(15, seed=3), tiny_causal_lm(15, seed=4)
    pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


def test_same_logits_in_train_and_eval_mode():
    model, ids = tiny_causal_lm(15), torch.arange(10).reshape(2, 5)
    assert torch.equal(model.train()(ids).logits, model.eval()(ids).logits)


def test_tied_output_matrix():
    tied = tiny_causal_lm(15, tie=True)
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    free = tiny_causal_lm(15)
    assert free.lm_head.weight is not free.model.embed_tokens.weight


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vocabulary_size": 0}, "vocabulary_size: got 0, allowed: an integer of at least 1"),
        ({"vocabulary_size": 9, "layers": 1.5}, "layers: got 1.5, allowed"),
        ({"vocabulary_size": 9, "intermediate": -8}, "intermediate: got -8, allowed"),
        ({"vocabulary_size": 9, "hidden": 60, "heads": 4}, "hidden: got 60, allowed: a multiple of 2 x heads = 8"),
        ({"vocabulary_size": 9, "seed": -1}, "seed: got -1, allowed: an integer of at least 0"),
    ],
)
def test_bad_sizes(given, message):
    with pytest.raises(ValueError, match="^" + message):
        tiny_causal_lm(**given)


def test_importing_the_room_is_cheap():
    code = "import sys, entropy_utils.language_model as r; dir(r); print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_every_exported_name_is_there():
    assert {"tiny_causal_lm", "sample", "token_statistics"} <= set(language_model.__all__)
    for name in language_model.__all__:
        assert getattr(language_model, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        language_model.nothing  # noqa: B018
