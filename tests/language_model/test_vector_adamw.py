"""One vector against `torch.optim.AdamW` on the weights themselves."""

import pytest
import torch

from entropy_utils.language_model.vector_adamw import VectorAdamW


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(2, *shape, generator=generator)) for shape in ((3, 4), (5,), (4, 2), (3,))]


def loss_of(weights):
    """Depends on all but the third, on one of them through its transpose."""
    first, second, _, last = weights
    return (first.mT @ last.unsqueeze(-1)).square().sum() + (second - 1).pow(4).sum()


def test_the_updates_are_those_of_torch_at_every_rate(weights):
    plain = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    adam = torch.optim.AdamW(plain, lr=0.1, weight_decay=0.3)
    vector = VectorAdamW(weights, 0.1, 0.3)
    untouched = weights[2].detach().clone()
    for rate in (0.1, 0.1, 0.02, 0.05):
        adam.param_groups[0]["lr"] = vector.lr = rate
        adam.zero_grad()
        loss_of(plain).backward()
        adam.step()
        vector.backward(loss_of(weights))
        vector.step()
        for one, other in zip(weights, plain, strict=True):
            torch.testing.assert_close(one, other)
    assert torch.equal(weights[2], untouched)


def test_gradients_are_changed_on_the_way(weights):
    plain = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    adam, vector = torch.optim.AdamW(plain, lr=0.1), VectorAdamW(weights, 0.1)
    for factor in (1.0, -3.0):  # Adam sees the sign, and the size from the second update on
        adam.zero_grad()
        (factor * loss_of(plain)).backward()
        adam.step()
        vector.backward(loss_of(weights))
        for gradient in vector.gradients:
            gradient.mul_(factor)
        vector.step()
    for one, other in zip(weights, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_an_update_is_undone_in_all_models_or_in_some(weights):
    vector = VectorAdamW(weights, 0.1)
    vector.backward(loss_of(weights))
    vector.step()
    before = [weight.detach().clone() for weight in weights]
    vector.backward(loss_of(weights))
    vector.step()
    after = [weight.detach().clone() for weight in weights]
    vector.undo(torch.tensor([False, False]))
    assert all(torch.equal(weight, new) for weight, new in zip(weights, after, strict=True))
    vector.undo(torch.tensor([False, True]))
    for weight, old, new in zip(weights, before, after, strict=True):
        assert torch.equal(weight[0], new[0])
        assert torch.equal(weight[1], old[1])
    vector.undo()
    assert all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))


@pytest.mark.parametrize("which", [None, torch.tensor([False, True])])
def test_undoing_nothing_leaves_the_weights(weights, which):
    before, vector = [weight.detach().clone() for weight in weights], VectorAdamW(weights, 0.1)
    vector.undo(which)
    vector.backward(loss_of(weights))
    vector.undo(which)
    assert all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_weights_that_are_no_finite_numbers_are_seen(weights, broken):
    vector = VectorAdamW(weights, 0.1)
    vector.backward(loss_of(weights))
    vector.step()
    assert vector.finite()
    with torch.no_grad():
        weights[1][1, 2] = broken
    assert not vector.finite()
