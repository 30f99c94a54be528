"""sigmaReparam: definition, gradient, scale law, whole models, state dicts, folding; references from torch and by hand."""

import copy
import io
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from entropy_utils.attention_entropy import sigma_reparam
from entropy_utils.attention_entropy.sigma_reparam import (
    SigmaReparam,
    fold,
    is_query_or_key,
    linear_layers,
    parameter_groups,
    power_step,
    reparametrize,
    reparametrized,
    rescaled,
    sigma_reparametrize,
    sigma_weights,
    top_singular,
)
from entropy_utils.lab.errors import ParameterError


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def small(norm=True):
    """Layers of one shape, another shape, a convolution, and a norm."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 2, stride=2), nn.Flatten(), nn.Linear(24, 8), nn.LayerNorm(8) if norm else nn.Identity(), nn.Tanh(),
        nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3, bias=False),
    )  # fmt: skip


def gpt2(tied=False):
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 30, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=0)).eval()


def images():
    return torch.randn(5, 2, 4, 4)


def norm(weight):
    return torch.linalg.matrix_norm(weight.detach().flatten(1).double(), 2)


# ---- definition and gradient ---------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_start_is_the_exact_top_singular_pair(rows, columns, seed):
    W = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    sigma, u = top_singular(W)
    assert sigma == pytest.approx(float(norm(W)), rel=1e-6)
    assert torch.allclose(W.double().T @ (W.double() @ u), sigma**2 * u, atol=1e-6 * float(sigma) ** 2)


def test_power_iteration_from_a_cold_start_underestimates_and_then_converges():
    W = torch.randn(20, 12, dtype=torch.float64)
    u = nn.functional.normalize(torch.randn(12, dtype=torch.float64), dim=0)
    found = []
    for _ in range(400):
        u, v = power_step(W, u)
        found.append(float(v @ W @ u))
    assert found[0] < 0.95 * norm(W)
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(found))
    assert found[-1] == pytest.approx(float(norm(W)), rel=1e-9)


@pytest.mark.parametrize("iterations", [1, 2, 51])
def test_gradient_against_autograd_and_the_formula(iterations):
    layer = sigma_reparametrize(nn.Linear(7, 5, bias=False).double())
    gain, held = layer.parametrizations.weight[0], layer.parametrizations.weight
    with torch.no_grad():
        gain.gamma.fill_(1.7)
        gain.u.copy_(nn.functional.normalize(torch.randn(7, dtype=torch.float64), dim=0))
        for _ in range(iterations - 1):
            layer.weight  # noqa: B018 - reading is a power iteration
    start, G = gain.u.clone(), torch.randn(5, 7, dtype=torch.float64)
    W = held.original.detach().clone().requires_grad_()
    gamma = gain.gamma.detach().clone().requires_grad_()

    new = layer.weight
    new.backward(G)
    u, v = power_step(W.detach(), start)
    assert torch.allclose(gain.u, u, atol=1e-15)
    definition = rescaled(W, gamma, u, v)
    definition.backward(G)
    assert torch.allclose(new, definition, atol=1e-14)
    assert torch.allclose(held.original.grad, W.grad, atol=1e-13)
    assert torch.allclose(gain.gamma.grad, gamma.grad, atol=1e-13)

    sigma, inner = v @ W.detach() @ u, (G * W.detach()).sum()
    by_hand = gain.gamma.detach() / sigma * (G - inner / sigma * torch.outer(v, u))
    assert torch.allclose(held.original.grad, by_hand, atol=1e-13)
    assert gain.gamma.grad == pytest.approx(float(inner / sigma), abs=1e-13)
    assert abs((held.original.grad * W.detach()).sum()) < 1e-13  # exactly 0, converged or not


def test_gradients_of_a_batch_once_and_twice_against_the_definition():
    gains = [SigmaReparam(torch.randn(3, 4).double(), "sigma").eval() for _ in range(2)]
    for gain in gains:  # not converged: nothing may rely on u being the singular vector
        gain.u.copy_(nn.functional.normalize(torch.randn(4).double(), dim=0))
    weights = [torch.randn(3, 4).double() for _ in range(2)]

    inputs = [weight.requires_grad_() for weight in weights] + [gain.gamma for gain in gains]
    out = torch.stack(sigma_weights(gains, weights))
    G = torch.randn_like(out)
    first = torch.autograd.grad(out, inputs, G, create_graph=True)
    u = torch.stack([gain.u for gain in gains])
    v = nn.functional.normalize((torch.stack(weights) @ u[..., None])[..., 0], dim=-1).detach()
    plain = rescaled(torch.stack(inputs[:2]), torch.stack(inputs[2:]), u, v)
    expected = torch.autograd.grad(plain, inputs, G, create_graph=True)
    probe = [torch.randn_like(g) for g in first]
    second = torch.autograd.grad(sum((a * b).sum() for a, b in zip(first, probe, strict=True)), inputs)
    wanted = torch.autograd.grad(sum((a * b).sum() for a, b in zip(expected, probe, strict=True)), inputs)
    for ours, theirs in zip((*first, *second), (*expected, *wanted), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *t: rescaled(torch.stack(t[:2]), torch.stack(t[2:]), u, v), inputs)


def test_a_hessian_product_with_gamma_frozen():
    model = reparametrize(small().double())
    for layer, tensor in reparametrized(model).values():
        layer.parametrizations[tensor][0].gamma.requires_grad_(False)
    parameters, x = [p for p in model.parameters() if p.requires_grad], images().double()
    model.eval()
    weight, step = model[5].parametrizations.weight.original, 1e-6

    def gradients(create_graph=False):
        return torch.autograd.grad(model(x).square().sum(), parameters, create_graph=create_graph)

    u = model[5].parametrizations.weight[0].u
    direction = torch.randn(8, 8).double()
    direction -= torch.outer(direction @ u, u)  # leaves W u, hence v, as it is: v is a constant
    at = next(i for i, p in enumerate(parameters) if p is weight)
    product = torch.autograd.grad((gradients(True)[at] * direction).sum(), parameters)
    with torch.no_grad():
        weight += step * direction
    after = gradients()[at]
    with torch.no_grad():
        weight -= 2 * step * direction
    before = gradients()[at]
    assert torch.allclose(product[at], (after - before) / (2 * step), atol=1e-6)


def test_scale_law_weights_and_their_adam_rate_times_c_train_alike():
    def losses(c, rate):
        torch.manual_seed(1)
        model = reparametrize(small().double())
        x, y = images().double(), torch.tensor([0, 1, 2, 0, 1])
        weights = [p for name, p in model.named_parameters() if name.endswith("original")]
        others = [p for name, p in model.named_parameters() if not name.endswith("original")]
        with torch.no_grad():
            for weight in weights:
                weight *= c
        groups = [{"params": weights, "lr": rate * 1e-2}, {"params": others, "lr": 1e-2}]
        optimiser = torch.optim.Adam(groups, eps=1e-300)
        found = []
        for _ in range(30):
            loss = nn.functional.cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(float(loss.detach()))
        return torch.tensor(found)

    base = losses(1, 1)
    assert (losses(7, 7) - base).abs().max() < 1e-8
    assert (losses(7, 1) - base).abs().max() > 1e-3  # without the rate it is another run
    assert base[-1] < 0.5 * base[0]


# ---- one layer -----------------------------------------------------------------------------------------------------


def test_train_mode_iterates_and_eval_mode_does_not():
    layer = sigma_reparametrize(nn.Linear(6, 6))
    gain = layer.parametrizations.weight[0]
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(torch.randn(6, 6))
    before = gain.u.clone()
    layer.eval()
    assert torch.equal(layer.weight, layer.weight)
    assert torch.equal(gain.u, before)
    sigma = norm(layer.parametrizations.weight.original)
    assert norm(layer.weight) > 1.0 - 1e-6  # u lags behind: sigma is underestimated, the weight is too large
    layer.train()
    layer.weight  # noqa: B018
    assert not torch.equal(gain.u, before)
    for _ in range(300):
        layer.weight  # noqa: B018
    assert norm(layer.weight) == pytest.approx(1.0, abs=1e-5)
    assert float(norm(layer.parametrizations.weight.original)) == pytest.approx(float(sigma))


def test_gamma_init_one_has_spectral_norm_one_and_sigma_keeps_the_weight():
    plain = nn.Linear(9, 4)
    W = plain.weight.detach().clone()
    one, sigma = (sigma_reparametrize(copy.deepcopy(plain), gamma_init=start) for start in ("one", "sigma"))
    for layer in (one, sigma, one.eval(), sigma.eval()):
        expected = W if layer is sigma else W / norm(W)
        assert torch.allclose(layer.weight, expected.float(), atol=1e-6)
    assert one.parametrizations.weight[0].gamma == 1
    direct = parametrize.register_parametrization(plain, "weight", SigmaReparam(plain.weight, "one"))
    assert torch.allclose(direct.weight, one.weight)


@pytest.mark.parametrize("mode", [True, False])
def test_assigning_a_weight_gives_that_weight(mode):
    layer = sigma_reparametrize(nn.Linear(5, 3)).train(mode)
    W = torch.randn(3, 5)
    layer.weight = W
    assert torch.allclose(layer.weight, W, atol=1e-6)
    assert float(layer.parametrizations.weight[0].gamma.detach()) == pytest.approx(float(norm(W)), rel=1e-6)
    W.zero_()  # the layer has its own copy
    assert norm(layer.weight) > 0


def test_sigma_is_float32_under_autocast_and_for_bfloat16_weights():
    layer = sigma_reparametrize(nn.Linear(64, 64))
    expected = copy.deepcopy(layer).weight
    with torch.autocast("cpu", torch.bfloat16):
        x = torch.randn(2, 64)
        assert layer(x).dtype == torch.bfloat16
        weight = layer.weight
        weight.sum().backward()
    assert weight.dtype == torch.float32
    assert torch.allclose(weight, expected, atol=1e-6)

    half = sigma_reparametrize(nn.Linear(64, 64)).bfloat16()
    W = half.parametrizations.weight.original.detach().float()
    assert half.weight.dtype == torch.bfloat16
    # sigma is second order in the rounding of u (2^-9), so the weight is right to its own rounding
    assert torch.allclose(half.weight.float(), W / norm(W).float(), rtol=2**-8, atol=1e-6)


# ---- whole models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("double", [True, False])
def test_a_model_in_one_batch_equals_its_layers_alone(double):
    model = small().double() if double else small()
    reparametrize(model)
    alone, x = copy.deepcopy(model), images().to(next(model.parameters()).dtype)
    atol = 1e-13 if double else 1e-5
    for _ in range(3):
        out = model(x)
        out.square().sum().backward()
        with parametrize.cached():  # switches the batch off
            expected = alone(x)
            expected.square().sum().backward()
        assert torch.allclose(out, expected, atol=atol)
    names = dict(alone.named_parameters())
    for name, p in model.named_parameters():
        assert torch.allclose(p.grad, names[name].grad, atol=100 * atol), name
    for name, buffer in model.named_buffers():
        assert torch.allclose(buffer, dict(alone.named_buffers())[name], atol=atol), name
    model.eval(), alone.eval()
    with parametrize.cached():
        expected = alone(x)
    assert torch.allclose(model(x), expected, atol=atol)


def test_large_layers_are_on_their_own_on_a_cpu_and_small_odd_ones_join_the_others(monkeypatch):
    model = reparametrize(nn.Sequential(nn.Linear(7, 300), nn.Linear(300, 300), nn.Linear(300, 300), nn.Linear(300, 2)))
    batches, batch = [], sigma_reparam.sigma_batch
    monkeypatch.setattr(sigma_reparam, "sigma_batch", lambda W, *rest: batches.append(tuple(W.shape)) or batch(W, *rest))
    model(torch.zeros(1, 7))
    assert sorted(batches) == [(1, 2, 300), (1, 300, 7), (1, 300, 300), (1, 300, 300)]
    batches.clear()
    monkeypatch.setattr(sigma_reparam.Together, "largest_on_cpu", 300**2)
    model(torch.zeros(1, 7))
    assert batches == [(4, 300, 300)]


def test_gradient_checkpointing_on_its_own_layers():
    model, ids = reparametrize(gpt2(), together=False).train(), torch.arange(12)[None]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    twin = copy.deepcopy(model)
    twin.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for each in (model, twin):
        each(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)


def test_one_forward_is_one_power_iteration_however_often_a_weight_is_read():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            return self.layer(self.layer(x)) + self.layer.weight.sum()

    model = reparametrize(Twice().double())
    gain, held = model.layer.parametrizations.weight[0], model.layer.parametrizations.weight
    gain.u.copy_(nn.functional.normalize(torch.randn(6).double(), dim=0))
    expected, _ = power_step(held.original.detach(), gain.u)
    model(torch.randn(2, 6).double())
    assert torch.allclose(gain.u, expected, atol=1e-14)


def test_a_second_parametrization_on_top_counts():
    class Mask(nn.Module):
        def forward(self, weight):
            return weight * torch.ones_like(weight).tril()

    model = reparametrize(small())
    seen = []
    model[5].register_forward_hook(lambda layer, x, out: seen.append((layer, x[0], out)))
    parametrize.register_parametrization(model[5], "weight", Mask())
    model.eval()(images())
    layer, x, out = seen[0]
    assert torch.equal(layer.weight, layer.weight.tril())
    torch.testing.assert_close(out, x @ layer.weight.T + layer.bias)


def test_a_part_in_another_precision_is_not_mixed_with_the_rest():
    model = reparametrize(small())
    model[7].double()
    model[7].register_forward_pre_hook(lambda _, x: (x[0].double(),))
    model[7].register_forward_hook(lambda _, x, out: out.float())
    seen = []
    model[7].register_forward_pre_hook(lambda layer, _: seen.append(layer.weight.dtype))
    model[5].register_forward_pre_hook(lambda layer, _: seen.append(layer.weight.dtype))
    model(images()).sum().backward()
    assert seen == [torch.float32, torch.float64]


def test_torch_func_in_eval_mode_against_autograd():
    model, x = reparametrize(small().double()).eval(), images().double()
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    expected = torch.autograd.grad(model(x).square().sum(), list(parameters.values()))
    found = torch.func.grad(loss)({name: p.detach() for name, p in parameters.items()}, x)
    for name, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found[name], gradient)
    stacked = {name: torch.stack([p.detach(), 2 * p.detach()]) for name, p in parameters.items()}
    both = torch.func.vmap(torch.func.grad(loss), (0, None))(stacked, x)
    for name in parameters:
        torch.testing.assert_close(both[name][0], found[name])


def test_gradient_checkpointing_asks_for_layers_on_their_own():
    model = gpt2()
    model.gradient_checkpointing_enable()
    with pytest.raises(ParameterError, match=r"'together'.*False"):
        reparametrize(model)
    assert not reparametrized(model)


def test_after_a_failed_forward_the_layers_are_on_their_own():
    model = reparametrize(small())
    with pytest.raises(RuntimeError):
        model(torch.randn(5, 3, 4, 4))
    with torch.no_grad():
        for layer, _ in reparametrized(model).values():
            layer.parametrizations.weight[0].gamma.mul_(2)
    assert all(norm(layer.weight) == pytest.approx(2, rel=1e-5) for layer, _ in reparametrized(model).values())


def test_gpt2_keeps_its_function_with_gamma_sigma_and_folds_back():
    model, ids = gpt2(), torch.arange(12)[None]
    names, before = list(model.state_dict()), model(input_ids=ids).logits
    reparametrize(model, "sigma")
    assert len(reparametrized(model)) == 2 * 4 + 1
    assert torch.allclose(model(input_ids=ids).logits, before, atol=1e-6)
    train(model, lambda: model(input_ids=ids, labels=ids).loss)
    trained = model.eval()(input_ids=ids).logits
    fold(model)
    assert torch.allclose(model(input_ids=ids).logits, trained, atol=1e-6)
    assert list(model.state_dict()) == names
    other = gpt2()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(input_ids=ids).logits, model(input_ids=ids).logits)
    torch.save(model, io.BytesIO())  # a plain model again: it pickles
    assert not model._forward_pre_hooks
    assert not model._forward_hooks


def test_fold_of_a_deep_copy_leaves_the_model_alone():
    model, x = reparametrize(small()), images()
    train(model, lambda: model(x).square().mean())
    model.eval()
    expected = model(x)
    twin = fold(copy.deepcopy(model))
    assert torch.allclose(twin(x), expected, atol=1e-6)
    assert not twin._forward_hooks
    assert model._forward_hooks
    assert not reparametrized(twin)
    assert len(reparametrized(model)) == 5
    assert torch.equal(model(x), expected)


def test_state_dict_round_trip_also_into_a_fresh_model():
    model, x = reparametrize(small(), "sigma"), images()
    train(model, lambda: model(x).square().mean())
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    train_out, out = copy.deepcopy(model)(x), model.eval()(x)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    fresh = reparametrize(small(), "one")
    fresh.load_state_dict(state)
    assert torch.allclose(fresh.eval()(x), out, atol=1e-6)
    fresh.load_state_dict(state)
    assert torch.allclose(fresh.train()(x), train_out, atol=1e-6)
    train(model.train(), lambda: model(x).square().mean())
    assert not torch.allclose(model.eval()(x), out, atol=1e-3)
    model.load_state_dict(state)  # and back
    assert torch.allclose(model.eval()(x), out, atol=1e-6)


def test_a_choice_of_layers():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(4, 4) for _ in range(3))
            self.query_norm, self.mlp = nn.LayerNorm(4), nn.Linear(4, 4)

    def names(only):
        return set(reparametrized(reparametrize(nn.ModuleDict({"a": Attention()}), only=only)))

    assert names(is_query_or_key) == {"a.q_proj", "a.k_proj"}
    assert names(lambda name: not is_query_or_key(name)) == {"a.v_proj", "a.mlp"}
    assert is_query_or_key("attn.q_proj_weight")  # torch's MultiheadAttention with its own widths of keys and values
    assert not is_query_or_key("attn.in_proj_weight")
    assert names("*.mlp") == {"a.mlp"}
    assert names(["*q_proj", "*v_proj"]) == {"a.q_proj", "a.v_proj"}
    assert names(None) == {"a.q_proj", "a.k_proj", "a.v_proj", "a.mlp"}
    with pytest.raises(ParameterError, match=r"only.*qq.*a\.q_proj, a\.k_proj"):
        names("qq")


def test_fresh_weights_are_drawn_and_biases_kept():
    model = small()
    bias = model[5].bias.detach().clone()
    reparametrize(model, fresh_std=0.5, generator=torch.Generator().manual_seed(3))
    drawn = [layer.parametrizations.weight.original.detach() for layer, _ in reparametrized(model).values()]
    again = reparametrize(small(), fresh_std=0.5, generator=torch.Generator().manual_seed(3))
    for a, (layer, _) in zip(drawn, reparametrized(again).values(), strict=True):
        assert torch.equal(a, layer.parametrizations.weight.original)
    assert torch.cat([a.flatten() for a in drawn]).std() == pytest.approx(0.5, rel=0.1)
    assert torch.equal(model[5].bias, bias)


def test_torchs_own_attention_has_one_gamma_for_q_k_and_v():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    assert set(linear_layers(model)) == {"self_attn.in_proj_weight", "self_attn.out_proj", "linear1", "linear2"}
    x = torch.randn(2, 5, 8)
    expected = model(x)
    reparametrize(model, "sigma")
    assert torch.allclose(model(x), expected, atol=1e-5)
    model.eval()
    with torch.no_grad():
        assert torch.allclose(model(x), expected, atol=1e-5)
    fold(model)
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_parameter_groups_decay_matrices_only():
    model = reparametrize(small())
    decayed, free = parameter_groups(model, 0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {n for n in names.values() if n.endswith("original")}
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0


def test_refusals_touch_nothing():
    model = reparametrize(small(), only="2")
    with pytest.raises(ParameterError, match=r"'2'.*fold"):
        reparametrize(model)
    assert set(reparametrized(model)) == {"2"}
    with pytest.raises(ParameterError, match="no parametrization yet"):
        sigma_reparametrize(model[2])
    normed = small()
    nn.utils.parametrizations.spectral_norm(normed[5])
    with pytest.raises(ParameterError, match="'5'"):
        reparametrize(normed)
    with pytest.raises(ParameterError, match=r"lm_head\.weight.*only"):
        reparametrize(gpt2(tied=True))
    assert reparametrized(reparametrize(gpt2(tied=True), only=lambda name: name != "lm_head"))
    zeros = small()
    nn.init.zeros_(zeros[9].weight)
    with pytest.raises(ParameterError, match=r"'9'.*not all zero"):
        reparametrize(zeros)
    assert not reparametrized(zeros)
    for wrong in ("two", 1):
        with pytest.raises(ParameterError, match="gamma_init"):
            reparametrize(small(), wrong)
    for call in (lambda: fold(small()), lambda: reparametrize(small(), fresh_std=0.0), lambda: reparametrize(nn.Tanh())):
        with pytest.raises(ParameterError):
            call()
    with pytest.raises(ParameterError, match="two axes"):
        SigmaReparam(torch.randn(3))


def train(model, loss, steps=5):
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
