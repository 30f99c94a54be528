"""A stack of tiny ViTs trains every one of them exactly as it would train alone; what a run records, and how it ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from entropy_utils import lab
from entropy_utils.attention_entropy import training
from entropy_utils.attention_entropy.digits import digits
from entropy_utils.attention_entropy.large_training import LargeTraining
from entropy_utils.attention_entropy.stacked_vit import StackedViT
from entropy_utils.attention_entropy.tiny_vit import TinyViT
from entropy_utils.attention_entropy.training import Training
from entropy_utils.information import shannon_entropy

SMALL = {"steps": 6, "seeds": 2, "batch": 16, "layers": 2}
CASES = [
    {},
    {"norm": "post"},
    {"norm": "none", "std": 0.1},
    {"method": "sigma", "lr": 3e-2, "std": 0.5},
    {"method": "sigma", "gamma_init": "sigma", "where": "qk"},
    {"method": "sigma", "where": "all but qk", "norm": "post"},
    {"method": "spectral"},
    {"method": "weight"},
    {"method": "qk_norm"},
    {"method": "soft_cap", "limit": 0.5},
    {"method": "qk_clip", "limit": 0.5},
    {"clip": 0.5, "warm_up": 4},
    {"temperature": 0.1, "temperature_from": 3},
]


def alone(experiment: Training, seed: int, dtype: torch.dtype = torch.float32) -> tuple[list[float], TinyViT]:
    """Train the readable model of one seed in the plain way; the losses and the model."""
    model, train = experiment.build(seed).to(dtype), digits().train.to(dtype)
    labels = digits().train_labels
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=experiment.lr)
    generator, losses = torch.Generator().manual_seed(seed + training.BATCHES), []
    for step in range(experiment.steps):
        optimizer.param_groups[0]["lr"] = experiment.lr * min(1, (step + 1) / max(1, experiment.warm_up))
        for block in model.blocks:
            block.attention.temperature = experiment.temperature if step >= experiment.temperature_from else 1.0
        drawn = torch.randint(1437, (experiment.batch,), generator=generator)
        with torch.no_grad():
            largest = [largest_logits(model, train[drawn], layer) for layer in range(len(model.blocks))]
        loss = F.cross_entropy(model(train[drawn]), labels[drawn])
        optimizer.zero_grad()
        loss.backward()
        if experiment.clip:
            nn.utils.clip_grad_norm_(trained, experiment.clip)
        optimizer.step()
        if experiment.method == "qk_clip":
            clip(model, largest, experiment.limit)
        losses.append(loss.item())
    return losses, model.eval()


def largest_logits(model: TinyViT, images: torch.Tensor, layer: int) -> torch.Tensor:
    """Largest absolute logit of each head of one layer, without disturbing the power iteration."""
    was = model.training
    model.eval()
    x = model._tokens(images)
    for block in model.blocks[:layer]:
        x = block(x)
    block = model.blocks[layer]
    found = block.attention.logits(block.norm1(x) if block.norm == "pre" else x).abs().amax((0, 2, 3))
    model.train(was)
    return found


@torch.no_grad()
def clip(model: TinyViT, largest: list[torch.Tensor], limit: float) -> None:
    for block, top in zip(model.blocks, largest, strict=True):
        for head, value in enumerate(top):
            rows, root = slice(8 * head, 8 * head + 8), math.sqrt(min(1.0, limit / value))
            for layer in (block.attention.q, block.attention.k):
                layer.weight[rows] *= root
                layer.bias[rows] *= root


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_a_stack_trains_each_model_as_it_trains_alone(changes):
    """As near to the readable model in float64 as that model in float32 is, which some cases lead astray too."""
    experiment, images = Training(**SMALL | changes), digits().test[:50]
    stack = experiment.start()
    records = list(experiment.train(stack))
    for index in range(2):
        own = [record["loss"] for record in records if record["seed"] == index], stack.model(index)
        exact, single, own = (
            (torch.tensor(losses).double(), model(images.to(model.position.dtype)).detach().double())
            for losses, model in (alone(experiment, index, torch.float64), alone(experiment, index), own)
        )
        for truth, peer, found in zip(exact, single, own, strict=True):
            assert (found - truth).abs().max() < 10 * (peer - truth).abs().max() + 1e-5


@pytest.mark.parametrize("changes", CASES[:-2], ids=str)
def test_outputs_and_gradients_in_double_precision(changes):
    """float64 takes the plain attention and LayerNorm: equal to the readable model to rounding."""
    experiment = Training(**SMALL | changes)
    models = [experiment.build(seed).double() for seed in (3, 4)]
    stack = StackedViT(models).train()
    images = digits().train[:20].double().view(2, 10, 16, 4)
    out = stack(images)
    out.square().sum().backward()
    for index, model in enumerate(models):
        own = model(images[index])
        torch.testing.assert_close(out[index], own, rtol=1e-9, atol=1e-9)
        own.square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        for flat, names in stack.names.items():
            for part, name in enumerate(names):
                if gradients.get(name) is not None:
                    torch.testing.assert_close(getattr(stack, flat).grad[index, part], gradients[name], rtol=1e-7, atol=1e-9)


def test_the_recorded_entropies_are_those_of_the_attention_weights():
    """Before the first step: entropies of the readable model's attention by the quantities of `information`."""
    experiment = Training(**SMALL | {"steps": 1})
    record = next(experiment.run())
    model, data = experiment.build(0), digits()
    drawn = torch.randint(1437, (16,), generator=torch.Generator().manual_seed(training.BATCHES))
    with torch.no_grad():
        weights = torch.stack(model.attention(data.train[drawn])).numpy()
    expected = shannon_entropy(weights.astype(float) / weights.sum(-1, keepdims=True)).mean((1, 3)) / math.log(17)
    own = [[record[f"entropy_l{layer}_h{head}"] for head in range(4)] for layer in range(2)]
    np.testing.assert_allclose(own, expected, rtol=1e-5)
    assert record["entropy"] == pytest.approx(expected.mean(), rel=1e-5)
    assert record["entropy_min"] == pytest.approx(expected.mean(1).min(), rel=1e-5)
    largest = max(largest_logits(model, data.train[drawn], layer).max().item() for layer in (0, 1))
    assert record["max_logit"] == pytest.approx(largest, rel=1e-5)


def test_a_seed_does_not_depend_on_the_others_of_its_stack():
    three = lab.collect(Training(**SMALL | {"seeds": 3}), progress=False).records
    last = lab.collect(Training(**SMALL | {"seeds": 1, "seed": 2}), progress=False).records
    own = three[three.seed == 2].reset_index(drop=True)
    np.testing.assert_allclose(own.loss, last.loss, rtol=1e-5)
    assert own.accuracy.iloc[-1] == last.accuracy.iloc[-1]


def test_records_come_every_few_steps_and_at_the_end_and_their_number_is_known():
    experiment = Training(**SMALL | {"steps": 8, "every": 3})
    records = lab.collect(experiment, progress=False).records
    assert records.step.unique().tolist() == [0, 3, 6, 7]
    assert len(records) == experiment.length() == 8
    ends = records[records.step == 7]
    assert ends[["accuracy", "rank_l0", "top_l1"]].notna().all(axis=None)
    assert records[records.step < 7].accuracy.isna().all()
    assert ((ends.rank_l0 >= 1 - 1e-9) & (ends.rank_l0 <= 17)).all()
    assert (ends.top_l0 >= 1 / 17).all()


def test_stable_rank_and_top_key_of_known_attention():
    """Identical rows: rank 1. With W_Q = W_K = 0 the attention is uniform: rank 1, top key 1 / 17."""
    model = TinyViT(layers=1)
    for layer in (model.blocks[0].attention.q, model.blocks[0].attention.k):
        nn.init.zeros_(layer.weight)
    found = training.examination(model)
    assert found["rank_l0"] == pytest.approx(1, abs=1e-6)
    assert found["top_l0"] == pytest.approx(1 / 17, rel=1e-5)


def test_stable_rank_counts_equal_directions_and_weighs_the_others():
    """The identity: rank 17. Singular values 1 and 1/2: 1 + 1/4, where a nuclear ratio gives 1.5 and a count 2."""
    model = TinyViT(layers=2)
    half = torch.zeros(17, 17)
    half[0, 0], half[1, 1] = 1.0, 0.5
    model.attention = lambda images: [matrix.expand(len(images), 4, 17, 17) for matrix in (torch.eye(17), half)]
    found = training.examination(model)
    assert found["rank_l0"] == pytest.approx(17)
    assert found["rank_l1"] == pytest.approx(1.25)
    assert found["top_l0"] == 1
    assert found["top_l1"] == pytest.approx(1.5 / 17)


@pytest.mark.parametrize(("step", "value"), [(4, math.nan), (4, math.inf), (0, math.nan)])
def test_a_seed_with_a_loss_that_is_not_finite_ends_with_its_last_good_weights(monkeypatch, step, value):
    experiment = Training(**SMALL | {"steps": 8, "seeds": 3})
    first, healthy = experiment.start(), []
    states = [first.state(1)] * 3
    for record in experiment.train(first):
        healthy.append(record)
        states.append(first.state(1))
    losses, calls = training.seed_losses, []

    def broken(*arguments):
        calls.append(1)
        return losses(*arguments) * torch.tensor([1.0, value if len(calls) == step + 1 else 1.0, 1.0])

    monkeypatch.setattr(training, "seed_losses", broken)
    stack = experiment.start()
    records = list(experiment.train(stack))
    ended = [record for record in records if record["diverged"]]
    assert [(record["seed"], record["step"]) for record in ended] == [(1, step)]
    assert not math.isfinite(ended[0]["loss"])
    assert 0 <= ended[0]["accuracy"] <= 1
    assert max(record["step"] for record in records if record["seed"] == 1) == step
    for seed in (0, 2):
        own = [record["loss"] for record in records if record["seed"] == seed]
        assert own == [record["loss"] for record in healthy if record["seed"] == seed]
    kept = stack.state(1)
    for name, tensor in states[3 * step].items():  # the weights that gave the loss before, or the start
        torch.testing.assert_close(kept[name], tensor, rtol=0, atol=0)


def test_a_run_that_really_diverges_ends_with_a_finite_model():
    experiment = Training(norm="none", std=2.0, lr=1.0, steps=60, seeds=2, batch=32)
    stack = experiment.start()
    records = list(experiment.train(stack))
    assert [record["seed"] for record in records if record["diverged"]]
    for index in range(2):
        assert stack.model(index)(digits().test).isfinite().all()


def test_seeds_without_any_finite_weights_end_without_an_accuracy_and_raise_nothing():
    """The start overflows: there is nothing good to go back to."""
    records = list(Training(norm="none", std=2.0, layers=8, seeds=2, steps=2, batch=4).run())
    found = [(record["seed"], record["diverged"], record["accuracy"]) for record in records]
    assert found == [(0, True, None), (1, True, None)]


def test_attention_that_is_not_finite_is_no_error():
    model = TinyViT(layers=1)
    model.attention = lambda images: [torch.full((len(images), 4, 17, 17), math.nan)]
    assert training.examination(model) == {}


def test_closed_at_the_last_records_the_stack_is_finite_in_all_seeds(monkeypatch):
    """A last step into weights without a finite output is taken back in every seed before the first last record."""
    found = iter([{}, {"accuracy": 0.5}] * 2)
    monkeypatch.setattr(training, "examination", lambda model: next(found))
    experiment = Training(**SMALL | {"steps": 1})
    stack = experiment.start()
    run, start = experiment.train(stack), [stack.state(index) for index in range(2)]
    assert next(run)["diverged"]
    run.close()
    for index in range(2):
        assert all(torch.equal(stack.state(index)[name], tensor) for name, tensor in start[index].items())


def test_a_gpu_that_is_not_there_is_named_before_any_work(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for experiment in (Training(device="cuda"), LargeTraining(device="cuda")):
        with pytest.raises(lab.ParameterError, match=r"'device'.*'cuda'.*'auto' or 'cpu'"):
            next(experiment.run())


def test_an_interrupted_run_leaves_its_models():
    experiment = Training(**SMALL)
    stack = experiment.start()
    run = experiment.train(stack)
    losses = [next(run)["loss"] for _ in range(5)]  # steps 0 and 1 of both seeds, step 2 of one
    run.close()
    drawn = torch.Generator().manual_seed(training.BATCHES)
    for _ in range(3):
        chosen = torch.randint(1437, (16,), generator=drawn)
    loss = F.cross_entropy(stack.model(0)(digits().train[chosen]), digits().train_labels[chosen])
    assert loss.item() == pytest.approx(losses[4], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 30}, "width 30 and heads 4"),
        ({"where": "qk"}, "where 'qk' with method 'plain'"),
        ({"lr": 0.0}, "lr"),
        ({"method": "sgd"}, "'plain' or 'sigma'"),
        ({"batch": 2000}, "1437"),
    ],
)
def test_wrong_parameters_are_named_in_one_line(changes, words):
    with pytest.raises(lab.ParameterError, match=words) as found:
        Training(**changes)
    assert "\n" not in str(found.value)


def test_digits_are_cut_into_patches_and_standardised():
    whole, cut = digits(8), digits(2)
    assert cut.train.shape == (1437, 16, 4)
    assert cut.test.shape == (360, 16, 4)
    assert whole.train.mean().abs() < 1e-5
    assert whole.train.std() == pytest.approx(1, abs=1e-3)
    image = whole.test[7].view(8, 8)
    torch.testing.assert_close(cut.test[7, 6].view(2, 2), image[2:4, 4:6])  # patch in row 1, column 2
    assert torch.equal(whole.test_labels, cut.test_labels)
    assert set(cut.train_labels.tolist()) == set(range(10))
    with pytest.raises(lab.ParameterError, match="1, 2, 4 or 8"):
        digits(3)
