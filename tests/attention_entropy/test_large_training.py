"""Training models of transformers at tiny size: every method, divergence, data by local path, logits in float32."""

import math
from itertools import islice

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from entropy_utils.attention_entropy.large_training import (
    LargeTraining,
    float32_logits,
    largest_spectral_norm,
)
from entropy_utils.attention_entropy.sigma_reparam import linear_layers, reparametrized
from entropy_utils.attention_entropy.training_data import markov_text
from entropy_utils.lab.errors import DataUnavailable, ParameterError

TINY = {"steps": 3, "batch": 4, "exam": 8, "side": 8, "context": 12, "tokens": 2000, "width": 16, "heads": 2}


@pytest.mark.parametrize("task", ["vision", "language"])
@pytest.mark.parametrize("method", ["pre-LN", "sigma + pre-LN", "sigma", "sigma from sigma(W)", "QK-norm"])
def test_every_method_trains_and_records(task, method):
    experiment = LargeTraining(task=task, method=method, bf16=method == "sigma + pre-LN", **TINY)
    records = list(experiment.run())
    assert len(records) == experiment.length() == 3
    first, last = records[0], records[-1]
    data = experiment.data()
    assert first["loss"] == pytest.approx(math.log(data.classes), abs=1.0)
    for record in records:
        assert 0 <= record["entropy_min"] <= record["entropy"] <= 1 + 1e-6
        assert record["entropy"] == pytest.approx((record["entropy_l0"] + record["entropy_l1"]) / 2)
        assert not record["diverged"]
    assert (
        0 <= last["accuracy"] <= 1 if task == "vision" else last["perplexity"] == pytest.approx(math.exp(last["test_loss"]))
    )
    model = experiment.model(data.classes)
    kinds = [type(module).__name__ for module in model.modules()]
    norms = [kind for kind in kinds if kind.endswith(("LayerNorm", "RMSNorm"))]
    assert bool(norms) == (method in ("pre-LN", "sigma + pre-LN", "QK-norm"))
    assert kinds.count("HeadNorm") == (4 if method == "QK-norm" else 0)
    assert set(reparametrized(model)) == (set(linear_layers(model)) if method.startswith("sigma") else set())
    if method == "sigma + pre-LN" or method == "sigma":
        assert first["spectral_norm"] == pytest.approx(1, abs=0.02)  # power iteration, bounded by 1
    if method == "QK-norm":
        assert last["max_logit"] <= math.sqrt(8) * 1.1  # gains have hardly moved


def test_a_language_is_learned_down_to_its_entropy_rate_and_not_below():
    setting = {"vocabulary": 16, "tokens": 10_000, "context": 24, "batch": 16, "steps": 60, "layers": 1, "lr": 1e-2}
    experiment = LargeTraining(task="language", every=60, evaluate_every=60, **setting)
    data, last = experiment.data(), list(experiment.run())[-1]
    stream = torch.cat([data.train, data.test])
    pairs = torch.zeros(16, 16).index_put_((stream[:-1], stream[1:]), torch.ones(()), accumulate=True)
    conditional = pairs / pairs.sum(1, keepdim=True)
    rate = -(pairs / pairs.sum() * conditional.clamp_min(1e-30).log()).sum().item()
    assert math.exp(rate) * 0.97 < last["perplexity"] < math.exp(rate) * 1.3 < 16 / 2


def test_the_language_is_the_same_for_a_seed_and_has_its_sizes():
    one, same, other = (markov_text(16, 5000, 20, seed) for seed in (1, 1, 2))
    assert torch.equal(one.train, same.train)
    assert not torch.equal(one.train, other.train)
    assert len(one.test) * 9 == pytest.approx(len(one.train), abs=10)
    first = next(one.exam(4, 100))["input_ids"]
    assert torch.equal(first.flatten(), one.test[:80])


def test_a_loss_that_is_not_finite_is_reported_and_the_last_good_state_kept(tmp_path):
    experiment = LargeTraining(output=str(tmp_path / "new"), **{**TINY, "steps": 9})
    data = experiment.data()
    draw, calls = data.draw, iter(range(100))

    def broken(batch, generator):
        found = draw(batch, generator)
        return {**found, "pixel_values": found["pixel_values"] * (math.nan if next(calls) == 4 else 1)}

    data.draw = broken
    model = experiment.model(data.classes)
    records = list(experiment.train(model, data))
    assert [record["step"] for record in records] == [0, 1, 2, 3, 4]
    assert [record["diverged"] for record in records] == [False] * 4 + [True]
    assert math.isnan(records[-1]["loss"])

    expected = experiment.model(data.classes)  # the weights whose loss was finite last: those that step 3 started from
    reference = LargeTraining(**{**TINY, "steps": 9})
    run = reference.train(expected, reference.data())
    list(islice(run, 4))
    run.close()
    kept = torch.load(tmp_path / "new" / "model.pt", weights_only=True)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
        assert torch.equal(kept[name], tensor)
    assert experiment.examine(model, reference.data())["test_loss"] < 5


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    experiment = LargeTraining(output=str(tmp_path / "file"), **TINY)
    for run in (experiment.run(), experiment.train(experiment.model(10), experiment.data())):
        with pytest.raises(ParameterError, match="'output'"):
            next(run)


def test_temperature_divides_the_logits_from_its_step_on():
    plain, cold = (
        [r["max_logit"] for r in LargeTraining(temperature=t, temperature_from=1, **{**TINY, "lr": 1e-12}).run()]
        for t in (1.0, 0.1)
    )
    assert cold[0] == pytest.approx(plain[0], rel=1e-5)
    assert cold[1] == pytest.approx(10 * plain[1], rel=1e-4)


def test_attention_is_eager_attention_with_float32_logits_under_autocast():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 4) for _ in range(3))
    mask = torch.full((5, 5), -torch.inf).triu(1)
    out, weights = float32_logits(None, q, k, v, mask, 0.5)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5)
    assert torch.allclose(out, expected.transpose(1, 2), atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        _, same = float32_logits(None, q, k, v, mask, 0.5)
    assert same.dtype == torch.float32
    assert torch.equal(same, weights)


def test_largest_spectral_norm_against_svd():
    model = LargeTraining(method="sigma from sigma(W)", **TINY).model(10)
    exact = max(torch.linalg.matrix_norm(getattr(*pair).detach().flatten(1), 2).item() for pair in layers(model))
    assert exact * 0.97 < largest_spectral_norm(model) <= exact * (1 + 1e-5)


def layers(model):
    return linear_layers(model.eval()).values()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of pictures, of texts, and two that lack something, written as `save_to_disk` writes."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def rows(n):
        images = [Image.fromarray(rng.integers(0, 255, (10, 10, 3), dtype=np.uint8)) for _ in range(n)]
        fine = rng.integers(0, 5, n).tolist()
        return datasets.Dataset.from_dict({"img": images, "fine_label": fine, "coarse_label": [0] * n}).cast_column(
            "img", datasets.Image()
        )

    texts = {"text": ["abc " * 30, "", "xyz " * 30]}
    for name, found in {
        "pictures": {"train": rows(12), "test": rows(6)},
        "texts": {"train": datasets.Dataset.from_dict(texts), "test": datasets.Dataset.from_dict(texts)},
        "no_test": {"train": datasets.Dataset.from_dict(texts)},
    }.items():
        datasets.DatasetDict(found).save_to_disk(str(root / name))
    return root


def test_hub_profile_on_local_folders(folders):
    settings = TINY | {"evaluate_every": 3, "every": 1, "layers": 1, "device": "cpu"}
    experiment = LargeTraining.profile("hub", dataset=str(folders / "pictures"), **settings)
    data = experiment.data()
    assert data.train[0].shape == (12, 3, 8, 8)
    assert data.classes <= 5
    assert list(experiment.run())[-1]["accuracy"] is not None
    words = LargeTraining.profile("hub", task="language", dataset=str(folders / "texts"), **settings)
    assert bytes(words.data().train[:4].tolist()) == b"abc "
    assert list(words.run())[-1]["perplexity"] > 0


def test_data_that_is_not_there_or_not_what_it_should_be(folders):
    for settings, error, words in (
        ({"dataset": "nobody/nothing"}, DataUnavailable, "nobody/nothing.*save_to_disk"),
        ({"dataset": str(folders / "no_test"), "task": "language"}, ParameterError, "splits train and test, got train"),
        ({"dataset": str(folders / "texts")}, ParameterError, "column img or image, got text"),
        ({"dataset": str(folders / "pictures"), "task": "language"}, ParameterError, "column text, got img"),
        (
            {"dataset": str(folders / "texts"), "task": "language", "tokenizer": "nobody/none"},
            DataUnavailable,
            "tokenizer 'nobody/none'",
        ),
        ({"dataset": str(folders / "texts"), "task": "language", "context": 5000}, ParameterError, "context of 5000"),
    ):
        with pytest.raises(error, match=words):
            LargeTraining(**{**TINY, **settings}).data()
    for wrong in ({"width": 18, "heads": 4}, {"side": 10, "patch": 4}, {"method": "magic"}):
        with pytest.raises(ParameterError, match="allowed"):
            LargeTraining(**wrong)
