"""sample() against full forwards without a cache, against softmax by frequency, and on other architectures."""

import math

import pytest
import scipy.stats
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from entropy_utils.language_model import sample, tiny_causal_lm, token_statistics

VOCABULARY, END = 13, 5


def sharpened(model, factor=8.0):
    """The same model with a larger output matrix: a fresh one may be so close to uniform that little could go wrong."""
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(factor)
    return model


def llama():
    return sharpened(tiny_causal_lm(VOCABULARY, seed=1), 2.0)


def gpt2():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=32)
        return sharpened(GPT2LMHeadModel(config), 4.0)


def qwen2():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
            tie_word_embeddings=False,
        )
        return sharpened(Qwen2ForCausalLM(config))


@pytest.fixture(params=[llama, gpt2, qwen2], ids=["llama", "gpt2", "qwen2"])
def model(request):
    return request.param()


@pytest.fixture
def prompts():
    return torch.randint(0, VOCABULARY, (6, 4), generator=torch.Generator().manual_seed(2))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def rescored(model, prompts, drawn, temperature):
    """Statistics of the drawn tokens from one forward over prompt and continuation."""
    model.eval()
    logits = model(torch.cat([prompts, drawn], 1)).logits[:, prompts.shape[1] - 1 : -1]
    return token_statistics(drawn, logits, temperature=temperature)


def test_greedy_is_the_step_by_step_argmax(model, prompts):
    drawn = sample(model, prompts, 7, temperature=0)
    ids = prompts
    model.eval()
    for _ in range(7):
        ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(drawn.tokens, ids[:, 4:])
    assert drawn.mask.all()
    assert (drawn.logp == 0).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_logp_is_that_of_a_full_forward(model, prompts, temperature):
    drawn = sample(model, prompts, 7, temperature=temperature, generator=seeded(), num_return_sequences=3)
    wanted = rescored(model, prompts.repeat_interleave(3, 0), drawn.tokens, temperature)
    assert drawn.logp.dtype == torch.float32
    assert not drawn.logp.requires_grad
    torch.testing.assert_close(drawn.logp, wanted.log_prob, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_frequencies_are_those_of_softmax(temperature):
    """Chi-square on pairs of tokens, so that the second step (from the cache) is judged too."""
    model, prompt, n = tiny_causal_lm(4, seed=1), torch.tensor([[1, 2]]), 20_000
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    p = rescored(model, prompt.expand(16, 2), pairs, temperature).log_prob.double().sum(1).exp()
    counts = torch.zeros(16, dtype=torch.long)
    for seed in range(5):
        drawn = sample(model, prompt, 2, temperature=temperature, generator=seeded(seed), num_return_sequences=n).tokens
        counts += torch.bincount(drawn[:, 0] * 4 + drawn[:, 1], minlength=16)
    expected = (p / p.sum() * 5 * n).numpy()
    assert expected.min() > 5  # enough in every cell for the test to be valid
    assert expected.max() > 1.5 * expected.mean()  # far enough from uniform to tell
    assert scipy.stats.chisquare(counts.numpy(), expected).pvalue > 0.01


def test_same_generator_same_tokens(prompts):
    model = llama()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two, other = (sample(model, prompts, 8, generator=seeded(s)).tokens for s in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_stops_after_the_end_token(prompts):
    model = llama()
    drawn = sample(model, prompts, 12, eos=END, pad=9, generator=seeded(), num_return_sequences=10)
    ended = 0
    for tokens, mask, logp in zip(drawn.tokens.tolist(), drawn.mask.tolist(), drawn.logp.tolist(), strict=True):
        length = tokens.index(END) + 1 if END in tokens else 12
        ended += END in tokens
        assert mask == [True] * length + [False] * (12 - length)
        assert tokens[length:] == [9] * (12 - length)
        assert logp[length:] == [0] * (12 - length)
    assert 5 < ended < 60
    free = sample(model, prompts, 12, generator=seeded(), num_return_sequences=10)
    assert torch.equal(drawn.tokens[:, 0], free.tokens[:, 0])


def test_all_rows_ended_early_still_gives_the_full_length(prompts):
    model = llama()
    first = sample(model, prompts[:1], 1, temperature=0).tokens.item()
    drawn = sample(model, prompts[:1], 9, temperature=0, eos=first)
    assert drawn.tokens.shape == (1, 9)
    assert drawn.mask.sum() == 1


def test_continuations_of_a_prompt_are_adjacent(prompts):
    model = llama()
    repeated = sample(model, prompts, 5, temperature=0, num_return_sequences=4).tokens
    assert torch.equal(repeated, sample(model, prompts, 5, temperature=0).tokens.repeat_interleave(4, 0))


def test_padding_on_the_left_changes_nothing(model, prompts):
    padded = torch.cat([torch.zeros(6, 3, dtype=torch.long), prompts], 1)
    mask = torch.cat([torch.zeros(6, 3, dtype=torch.long), torch.ones_like(prompts)], 1)
    plain = sample(model, prompts, 6, generator=seeded(), num_return_sequences=2)
    shifted = sample(model, padded, 6, attention_mask=mask, generator=seeded(), num_return_sequences=2)
    assert torch.equal(plain.tokens, shifted.tokens)
    torch.testing.assert_close(plain.logp, shifted.logp, rtol=1e-4, atol=1e-5)


def test_saved_and_loaded(model, prompts, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    one, two = (sample(m, prompts, 6, generator=seeded()) for m in (model, loaded))
    assert torch.equal(one.tokens, two.tokens)
    assert torch.equal(one.logp, two.logp)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_is_kept(prompts, training):
    model = gpt2().train(training)
    assert model.config.resid_pdrop > 0
    one, two = (sample(model, prompts, 6, temperature=0).tokens for _ in range(2))
    assert torch.equal(one, two)
    assert model.training is training


def test_no_prompts():
    assert sample(llama(), torch.zeros(0, 3, dtype=torch.long), 4).tokens.shape == (0, 4)


def test_logits_that_are_not_numbers(prompts):
    model = sharpened(tiny_causal_lm(VOCABULARY), math.nan)
    for temperature in (0, 1):
        with pytest.raises(ValueError, match=r"^model: got logits that are NaN"):
            sample(model, prompts, 2, temperature=temperature)


P = torch.zeros(2, 4, dtype=torch.long)


@pytest.mark.parametrize(
    ("prompts", "given", "message"),
    [
        (P[0], {}, r"prompts: got \(4,\) torch.int64, allowed: integers \[prompts, at least 1 token\]"),
        (P[:, :0], {}, r"prompts: got \(2, 0\)"),
        (P.float(), {}, r"prompts: got \(2, 4\) torch.float32"),
        (P + VOCABULARY, {}, "prompts: got ids from 13 to 13, allowed: 0 to 12"),
        (P - 1, {}, "prompts: got ids from -1 to -1"),
        (P, {"max_new_tokens": 0}, "max_new_tokens: got 0, allowed: an integer of at least 1"),
        (P, {"max_new_tokens": 61}, r"max_new_tokens: got 4 prompt \+ 61 new tokens, allowed: at most 64 positions"),
        (P, {"num_return_sequences": 1.5}, "num_return_sequences: got 1.5"),
        (P, {"temperature": -1}, "temperature: got -1, allowed: a finite number of at least 0"),
        (P, {"temperature": math.inf}, "temperature: got inf"),
        (P, {"temperature": "1"}, "temperature: got '1'"),
        (P, {"attention_mask": P[:, :3]}, r"attention_mask: got shape \(2, 3\), allowed: that of the prompts \(2, 4\)"),
        (P, {"attention_mask": torch.tensor([[1, 1, 1, 0]] * 2)}, "attention_mask: got padding on the right"),
    ],
)
def test_bad_input_is_one_clear_line(prompts, given, message):
    with pytest.raises(ValueError, match="^" + message) as caught:
        sample(llama(), prompts, **{"max_new_tokens": 3} | given)
    assert "\n" not in str(caught.value)
