"""The stack against `GPT2LMHeadModel`, model by model."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from entropy_utils.lab.errors import ParameterError
from entropy_utils.unlearning.answer_tokens import answer_places
from entropy_utils.unlearning.stacked_gpt2 import StackedGPT2


def gpt2(seed, **more):
    """All weights random, biases and norms too: at their initial zeros and ones they would hide mistakes."""
    settings = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0, "tie_word_embeddings": False} | more
    config = GPT2Config(vocab_size=17, n_positions=12, n_embd=16, n_layer=2, n_head=4, **settings)
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator) + (p.ndim == 1))
    return model


@pytest.fixture(scope="module", params=["gelu", "gelu_new"])
def models(request):
    return [gpt2(seed, activation_function=request.param) for seed in (0, 1)]


@pytest.fixture(scope="module")
def stack(models):
    return StackedGPT2(models[0].config, [model.state_dict() for model in models])


def test_logits_activations_and_gradients_are_those_of_each_model_alone(models, stack):
    ids = torch.randint(17, (2, 5, 9))
    logits = stack(ids)
    logits.square().sum().backward()
    for s, model in enumerate(models):
        model.zero_grad()
        out = model(input_ids=ids[s], output_hidden_states=True)
        torch.testing.assert_close(logits[s], out.logits, atol=1e-4, rtol=1e-4)
        for layer, hidden in enumerate(out.hidden_states):
            torch.testing.assert_close(stack.output(ids, layer).hidden[s], hidden, atol=1e-4, rtol=1e-4)
        out.logits.square().sum().backward()
        for name, p in model.named_parameters():
            grad = getattr(stack, name.replace(".", "/")).grad[s]
            torch.testing.assert_close(grad.T if name == "lm_head.weight" else grad, p.grad, atol=1e-2, rtol=1e-3)
    stack.zero_grad()


def test_shared_rows_are_read_by_every_model(stack):
    ids = torch.randint(17, (5, 9))
    torch.testing.assert_close(stack(ids), stack(ids.expand(2, -1, -1)))


def test_logits_at_places_are_those_of_the_whole_pass(stack):
    ids, places = torch.randint(17, (2, 5, 9)), torch.randint(9, (2, 5, 4))
    whole = stack(ids).gather(2, places.unsqueeze(-1).expand(-1, -1, -1, 17))
    torch.testing.assert_close(stack.output(ids, places=places).logits, whole, atol=1e-4, rtol=1e-4)


def test_places_of_answers_and_their_tokens():
    labels = torch.tensor([[-100, -100, 5, 6, 1, -100], [-100, -100, -100, -100, 7, 1]])
    places, tokens = answer_places(labels)
    assert places[0].tolist() == [1, 2, 3]
    assert tokens.tolist() == [[5, 6, 1], [7, 1, -100]]
    assert places[1, :2].tolist() == [3, 4]


def test_states_go_back_to_transformers(models, stack):
    for s, model in enumerate(models):
        for name, value in model.state_dict().items():
            torch.testing.assert_close(stack.state(s)[name], value, atol=0, rtol=0)
        ids = torch.randint(17, (3, 6))
        again = GPT2LMHeadModel(stack.config).eval()
        again.load_state_dict(stack.state(s))
        torch.testing.assert_close(again(input_ids=ids).logits, model(input_ids=ids).logits)


def test_sequences_longer_than_the_model_and_other_models_are_refused(stack):
    with pytest.raises(ParameterError, match=r"13 tokens.*at most the model's 12"):
        stack(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ParameterError, match="without dropout"):
        StackedGPT2(gpt2(0, resid_pdrop=0.1).config, [gpt2(0).state_dict()])
