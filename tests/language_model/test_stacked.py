"""StackedLlama against transformers: logits, gradients, packed branches, generation, weights in and out."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from entropy_utils.language_model import sample, tiny_causal_lm
from entropy_utils.language_model.stacked import Branches, StackedLlama

VOCABULARY, PROMPT, GROUP, LENGTH = 13, 4, 3, 5
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


def models(count=3, **sizes):
    """Fresh models, their norms moved away from 1 so that a forgotten one shows."""
    made = []
    for seed in range(count):
        model = tiny_causal_lm(VOCABULARY, **{"hidden": 32, "layers": 2, "heads": 4, "seed": seed} | sizes)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" in name:
                    weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
        made.append(model)
    return made


def stack(made):
    return StackedLlama(made[0].config, [model.state_dict() for model in made])


def tokens(g, *shape):
    return torch.randint(0, VOCABULARY, shape, generator=g)


def causal(n):
    return torch.ones(n, n, dtype=torch.bool).tril()


def concatenated_logits(model, prompt, responses):
    """Logits for every token of responses (G, T) to one prompt (L,), each as a plain sequence of its own."""
    ids = torch.cat([prompt.expand(len(responses), -1), responses], 1)
    return model(ids).logits[:, len(prompt) - 1 : -1]


@pytest.mark.parametrize("sizes", [{}, {"layers": 1, "heads": 1}, {"heads": 2, "intermediate": 24, "max_positions": 9}])
def test_forward_is_that_of_every_model(g, sizes):
    made, ids = models(**sizes), tokens(g, 3, 2, 9)
    found = stack(made)(ids, torch.arange(9), causal(9))
    assert found.shape == (3, 2, 9, VOCABULARY)
    for replica, model in enumerate(made):
        torch.testing.assert_close(found[replica], model(ids[replica]).logits, **CLOSE)
    assert (found[0] - made[1](ids[0]).logits).abs().max() > 0.1


@pytest.mark.parametrize("start", [1, 5, 8])
def test_logits_of_the_last_tokens_only(g, start):
    stacked, ids = stack(models()), tokens(g, 3, 2, 9)
    every = stacked(ids, torch.arange(9), causal(9))
    torch.testing.assert_close(stacked(ids, torch.arange(9), causal(9), start=start), every[:, :, start:], **CLOSE)


def test_packed_branches_are_the_plain_sequences(g):
    made, prompts, responses = models(), tokens(g, 3, 2, PROMPT), tokens(g, 3, 2, GROUP, LENGTH)
    found = stack(made).response_logits(prompts, responses)
    assert found.shape == (3, 2, GROUP, LENGTH, VOCABULARY)
    for replica, model in enumerate(made):
        for prompt in range(2):
            wanted = concatenated_logits(model, prompts[replica, prompt], responses[replica, prompt])
            torch.testing.assert_close(found[replica, prompt], wanted, **CLOSE)


def test_one_token_responses(g):
    made, prompts, responses = models(2), tokens(g, 2, 3, PROMPT), tokens(g, 2, 3, GROUP, 1)
    found = stack(made).response_logits(prompts, responses)
    torch.testing.assert_close(found[1, :, 0, 0], made[1](prompts[1]).logits[:, -1], **CLOSE)
    drawn, logits = stack(made).generate(prompts, torch.rand(2, 3, GROUP, 1, generator=g), 1)
    assert drawn.shape == (2, 3, GROUP, 1)
    torch.testing.assert_close(logits, found, **CLOSE)


def test_layout_of_the_branches():
    layout = Branches(2, 2, 2)  # two of the prompt, then a1 b1 a2 b2
    assert layout.positions().tolist() == [0, 1, 2, 2, 3, 3]
    assert layout.visible().int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [1, 1, 0, 1, 0, 1],
    ]


def test_gradients_of_every_weight(g):
    made, prompts, responses = models(), tokens(g, 3, 2, PROMPT), tokens(g, 3, 2, GROUP, LENGTH)
    weights = torch.randn(3, 2, GROUP, LENGTH, generator=g)
    stacked = stack(made)
    logp = stacked.response_logits(prompts, responses).log_softmax(-1).gather(-1, responses[..., None])[..., 0]
    (weights * logp).sum().backward()
    gradients = {name.replace("/", "."): weight.grad for name, weight in stacked.named_parameters()}
    for replica, model in enumerate(made):
        loss = 0.0
        for prompt in range(2):
            drawn = responses[replica, prompt]
            log_p = concatenated_logits(model, prompts[replica, prompt], drawn).log_softmax(-1)
            loss = loss + (weights[replica, prompt] * log_p.gather(-1, drawn[..., None])[..., 0]).sum()
        loss.backward()
        wanted = dict(model.named_parameters())
        assert wanted.keys() == gradients.keys()
        for name, weight in wanted.items():
            linear = "proj" in name or "lm_head" in name  # kept the other way round in the stack
            found = gradients[name][replica].T if linear else gradients[name][replica]
            assert weight.grad.abs().max() > 0
            torch.testing.assert_close(found, weight.grad, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_greedy_generation_is_that_of_sample(g):
    made, prompts = models(), tokens(g, 3, 6, PROMPT)
    drawn, _ = stack(made).generate(prompts, None, LENGTH)
    assert drawn.shape == (3, 6, 1, LENGTH)
    for replica, model in enumerate(made):
        assert torch.equal(drawn[replica, :, 0], sample(model, prompts[replica], LENGTH, temperature=0).tokens)


def test_logits_of_sampled_tokens_are_those_of_a_full_forward(g):
    made, prompts = models(), tokens(g, 3, 2, PROMPT)
    stacked, numbers = stack(made), torch.rand(3, 2, GROUP, LENGTH, generator=g)
    drawn, logits = stacked.generate(prompts, numbers, LENGTH)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, stacked.response_logits(prompts, drawn), **CLOSE)
    wanted = concatenated_logits(made[2], prompts[2, 1], drawn[2, 1])
    torch.testing.assert_close(logits[2, 1], wanted, **CLOSE)
    cumulative = logits.double().softmax(-1).cumsum(-1)
    upper = cumulative.gather(-1, drawn[..., None])[..., 0]
    lower = upper - logits.double().softmax(-1).gather(-1, drawn[..., None])[..., 0]
    assert ((lower - 1e-9 <= numbers) & (numbers <= upper + 1e-9)).all()


def test_sampled_tokens_have_the_frequencies_of_the_softmax(g):
    made, prompts = models(2), tokens(g, 1, 1, PROMPT).expand(2, 500, -1)
    drawn = stack(made).generate(prompts, torch.rand(2, 500, 20, 2, generator=g), 2)[0][1].flatten(0, 1)
    first = drawn[:, 0].mode().values
    second = drawn[drawn[:, 0] == first, 1]
    with torch.no_grad():
        expected = made[1](prompts[1, :1]).logits[0, -1].double().softmax(-1)
        following = made[1](torch.cat([prompts[1, :1], first.view(1, 1)], 1)).logits[0, -1].double().softmax(-1)
    for tokens_drawn, p in ((drawn[:, 0], expected), (second, following)):
        counts = torch.bincount(tokens_drawn, minlength=VOCABULARY)
        wanted = p / p.sum() * len(tokens_drawn)
        assert wanted.min() > 5
        assert scipy.stats.chisquare(counts.numpy(), wanted.numpy()).pvalue > 0.01


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-24])
def test_an_impossible_token_is_never_drawn(number):
    """Logits of -1e4 are impossible in any precision; a number of exactly 0 must not draw one either."""
    stacked, logits = stack(models(1)), torch.full((VOCABULARY,), -1e4)
    logits[5:8] = 0.0
    stacked.register_forward_hook(lambda module, given, found: logits.expand_as(found))
    drawn, _ = stacked.generate(torch.zeros(1, 1, 2, dtype=torch.long), torch.full((1, 1, 2, 3), number), 3)
    assert (drawn == {0.0: 5, 0.5: 6}.get(number, 7)).all()


def test_a_replica_gets_in_a_stack_what_it_gets_alone(g):
    made, prompts = models(), tokens(g, 3, 4, PROMPT)
    numbers = torch.rand(3, 4, GROUP, LENGTH, generator=g)
    together, _ = stack(made).generate(prompts, numbers, LENGTH)
    for replica in range(3):
        one = slice(replica, replica + 1)
        alone, _ = stack(made[one]).generate(prompts[one], numbers[one], LENGTH)
        assert torch.equal(together[one], alone)


def test_weights_come_out_as_they_went_in(g):
    made = models()
    stacked = stack(made)
    for replica, model in enumerate(made):
        state = stacked.state(replica)
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(state[name], weight) for name, weight in model.state_dict().items())
        fresh = tiny_causal_lm(VOCABULARY, hidden=32, seed=99)
        fresh.load_state_dict(state)
        ids = tokens(g, 2, 6)
        assert torch.equal(fresh(ids).logits, model(ids).logits)
    state["lm_head.weight"].zero_()
    assert stacked.state(2)["lm_head.weight"].abs().max() > 0  # a copy


def config(**changes):
    sizes = {"vocab_size": 9, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    return LlamaConfig(**sizes | {"num_attention_heads": 2, "max_position_embeddings": 16} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 1},
        {"tie_word_embeddings": True},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"head_dim": 4},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_model_that_it_would_compute_wrongly_is_refused(changes):
    model = LlamaForCausalLM(config(**changes))
    with pytest.raises(ValueError, match=r"^config: .*allowed: ") as caught:
        StackedLlama(model.config, [model.state_dict()])
    assert "\n" not in str(caught.value)


def test_another_architecture_is_refused():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=16, n_layer=1, n_head=2, n_positions=16))
    with pytest.raises(ValueError, match=r"^config: gpt2, allowed: Llama"):
        StackedLlama(model.config, [model.state_dict()])


def test_a_plain_llama_of_another_rotary_base_is_taken(g):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config(rope_parameters={"rope_type": "default", "rope_theta": 50.0}))
    ids = torch.randint(0, 9, (1, 2, 12), generator=g)
    found = stack([model])(ids, torch.arange(12), causal(12))
    torch.testing.assert_close(found[0], model(ids[0]).logits, **CLOSE)
