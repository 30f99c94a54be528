"""The recorder on models of transformers and plain torch, against the weights that the models themselves return."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
)

from entropy_utils.attention_entropy.entropy import attention_entropy, effective_rank, normalised
from entropy_utils.attention_entropy.recorder import CUDNN, AttentionRecorder, _mask_and_causal

IDS = torch.randint(1, 50, (3, 10), generator=torch.Generator().manual_seed(0))
RIGHT, LEFT = torch.ones(2, 3, 10, dtype=torch.long)
RIGHT[1, 6:] = RIGHT[2, 2:] = 0
LEFT[1, :4] = LEFT[2, :8] = 0


def llama(dropout=0.0, attention="eager"):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=50, num_key_value_heads=2, initializer_range=0.3, attention_dropout=dropout, **sizes
    )
    config._attn_implementation = attention
    return made(LlamaForCausalLM, config)


def gpt2(dropout=0.0):
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    config.resid_pdrop = config.embd_pdrop = 0.0
    config.attn_pdrop = dropout
    return made(GPT2LMHeadModel, config)


def bert():
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return made(BertModel, BertConfig(vocab_size=50, initializer_range=0.3, **sizes))


def vit():
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return made(ViTModel, ViTConfig(image_size=8, patch_size=2, num_channels=1, initializer_range=0.3, **sizes))


def t5():
    config = T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)
    return made(T5ForConditionalGeneration, config)


def made(kind, config):
    if config._attn_implementation is None:
        config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(config).eval()


class ByHand(nn.Module):
    """Attention written out, without transformers and without torch's own; one head, three axes."""

    def __init__(self, width=8):
        super().__init__()
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        logits = self.q(x) @ self.k(x).mT
        self.seen = logits.detach()
        return logits.softmax(-1) @ x


class SelfAttention(ByHand):
    pass


def expected(weights, counts, visible):
    """Means over the rows in `counts`, by layer and head: entropy, normalised, minimum."""
    entropy = attention_entropy(weights, visible)
    share = normalised(entropy, visible.expand(weights.shape).sum(-1))
    found = []
    for head in range(weights.shape[1]):
        rows = counts.expand(entropy[:, head].shape)
        chosen, shares = entropy[:, head][rows], share[:, head][rows]
        found.append([chosen.mean().item(), shares.mean().item(), shares.min().item()])
    return np.array(found)


def compare(recorder, layers, counts, visible, **first):
    history = recorder.history()
    for layer, weights in enumerate(layers, start=first.get("start", 0)):
        rows = history[(history.layer == layer) & (history.step == history.step.min())]
        assert rows["head"].tolist() == list(range(weights.shape[1]))
        found = rows[["entropy", "normalised", "minimum"]].to_numpy()
        np.testing.assert_allclose(found, expected(weights, counts, visible), rtol=2e-5, atol=2e-6)
    return history


def causal(padding):
    """(rows that count, visible keys) of a causal model under a padding mask."""
    visible = torch.ones(10, 10, dtype=torch.bool).tril() & padding[:, None, None, :].bool()
    return padding.bool() & (visible[:, 0].sum(-1) > 1), visible


@pytest.mark.parametrize("padding", [torch.ones_like(RIGHT), RIGHT, LEFT], ids=["full", "right", "left"])
@pytest.mark.parametrize("make", [llama, gpt2])
def test_causal_models_with_padding(make, padding):
    model = make()
    with torch.no_grad(), AttentionRecorder(model) as recorder:
        layers = model(IDS, attention_mask=padding, output_attentions=True).attentions
    history = compare(recorder, layers, *causal(padding))
    assert len(history) == 8
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_bidirectional_model_leaves_out_the_rows_of_padding():
    model = bert()
    with torch.no_grad(), AttentionRecorder(model) as recorder:
        layers = model(IDS, attention_mask=RIGHT, output_attentions=True).attentions
    compare(recorder, layers, RIGHT.bool(), RIGHT[:, None, None, :].bool())


def test_vision_model():
    model = vit()
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), AttentionRecorder(model, rank=True) as recorder:
        layers = model(images, output_attentions=True).attentions
    everything = torch.ones(3, 17, dtype=torch.bool)
    history = compare(recorder, layers, everything, torch.ones(3, 1, 17, 17, dtype=torch.bool))
    np.testing.assert_allclose(history["rank"], torch.cat([effective_rank(a).mean(0) for a in layers]), rtol=1e-4)
    assert history["module"].str.contains("attention").all()


def test_encoder_decoder_keeps_the_queries_of_cross_attention_whose_keys_are_padding():
    model = t5()
    with torch.no_grad(), AttentionRecorder(model) as recorder:
        out = model(IDS, attention_mask=RIGHT, decoder_input_ids=IDS, output_attentions=True)
    compare(recorder, out.encoder_attentions, RIGHT.bool(), RIGHT[:, None, None, :].bool())
    history = recorder.history()
    cross = history[history.module.str.contains("EncDecAttention")]
    assert len(cross) == 8
    everything = torch.ones(3, 10, dtype=torch.bool) & (RIGHT.sum(1) > 1)[:, None]
    for layer, weights in zip(cross.layer.unique(), out.cross_attentions, strict=True):
        compare(recorder, [weights], everything, RIGHT[:, None, None, :].bool(), start=layer)


@pytest.mark.parametrize("make", [llama, gpt2])
def test_in_training_what_is_recorded_is_before_dropout_and_changes_nothing(make):
    plain, model = make(dropout=0.5).train(), make(dropout=0.5).train()
    losses = []
    for each, every in ((plain, None), (model, 1)):
        torch.manual_seed(3)
        if every:
            recorder = AttentionRecorder(each).attach()
        loss = each(IDS, labels=IDS).loss
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    with torch.no_grad():
        first = model.eval()(IDS, output_attentions=True).attentions[:1]  # before the first dropout: those of eval mode
    recorder.detach()
    history = recorder.history()
    assert history.training.tolist() == [True] * 8 + [False] * 8
    found = history[history.training & (history.layer == 0)][["entropy", "normalised", "minimum"]]
    counts, visible = causal(torch.ones_like(IDS))
    np.testing.assert_allclose(found, expected(first[0], counts, visible), rtol=2e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_inference_mode(fused):
    """Operations reach the recorder in another form there."""
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    x, mask = torch.randn(3, 5, 16), torch.ones(5, 5, dtype=torch.bool).triu(1)
    with torch.inference_mode(), AttentionRecorder(attention, rank=True) as recorder:
        attention(x, x, x, attn_mask=mask, need_weights=not fused)
        _, weights = attention(x, x, x, attn_mask=mask, average_attn_weights=False)
    counts = torch.ones(3, 5, dtype=torch.bool) & (torch.arange(5) > 0)
    assert len(compare(recorder, [weights], counts, ~mask)) == 8
    first, second = np.split(recorder.history()[["entropy", "normalised", "minimum", "max_logit", "rank"]].to_numpy(), 2)
    np.testing.assert_allclose(first, second, rtol=1e-4)


def test_every_counts_training_and_evaluation_apart_and_detaches():
    model = gpt2()
    recorder = AttentionRecorder(model, every=3).attach()
    with torch.no_grad():
        for training in (True, True, False, True, True):
            model.train(training)(IDS)
        recorder.detach()
        model(IDS)
    steps = recorder.history().drop_duplicates(["step", "training"])
    assert list(zip(steps.step, steps.training, strict=True)) == [(0, True), (0, False), (3, True)]
    with recorder, torch.no_grad():
        for _ in range(3):
            model(IDS)
    assert recorder.history().step.max() == 6


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_counts_once(reentrant):
    model = llama().train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    with AttentionRecorder(model) as recorder:
        model(inputs_embeds=model.get_input_embeddings()(IDS), labels=IDS).loss.backward()
    counts, visible = causal(torch.ones_like(IDS))
    model.gradient_checkpointing_disable()
    with torch.no_grad():
        layers = model.eval()(IDS, output_attentions=True).attentions
    history = compare(recorder, layers, counts, visible)
    assert len(history) == 8


def test_queries_on_request_are_the_rows_of_the_mean():
    model = gpt2()
    with torch.no_grad(), AttentionRecorder(model, queries=True) as recorder:
        layers = model(IDS, output_attentions=True).attentions
    rows = recorder.query_history()
    assert len(rows) == 2 * 4 * 10
    picked = rows[(rows.layer == 1) & (rows["head"] == 2)]
    entropy = attention_entropy(layers[1])[:, 2].mean(0)
    np.testing.assert_allclose(picked.entropy[1:], entropy[1:], rtol=1e-5)
    assert math.isnan(picked.normalised.iloc[0])  # the first token has no choice
    with pytest.raises(ValueError, match="queries"):
        AttentionRecorder(model).query_history()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_torch_encoder_layer(training, batch_first):
    """Its attention runs in fused kernels: the entropy comes from queries and keys."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.5, batch_first=batch_first)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    x = torch.randn(3, 5, 16)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    given = x if batch_first else x.transpose(0, 1)
    with torch.set_grad_enabled(training), AttentionRecorder(encoder, rank=True) as recorder:
        encoder(given, src_key_padding_mask=padding)
    attention = encoder.layers[0].self_attn
    attention.eval()
    with torch.no_grad():
        options = {"key_padding_mask": padding, "average_attn_weights": False}
        _, weights = attention(given, given, given, **options)
    visible = ~padding[:, None, None, :]
    history = compare(recorder, [weights], ~padding, visible)
    assert len(history) == 8
    kept = torch.where(padding[:, None, :, None], 0, weights)
    np.testing.assert_allclose(history["rank"][:4], effective_rank(kept).mean(0), rtol=1e-4)
    assert torch.backends.mha.get_fastpath_enabled()


def test_multihead_attention_that_returns_weights():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    x = torch.randn(3, 5, 16)
    with torch.no_grad(), AttentionRecorder(attention) as recorder:
        _, weights = attention(x, x, x, average_attn_weights=False)
    compare(recorder, [weights], torch.ones(3, 5, dtype=torch.bool), torch.ones(3, 1, 5, 5, dtype=torch.bool))


def test_attention_written_by_hand_and_its_largest_logit():
    torch.manual_seed(0)
    model = nn.Sequential(SelfAttention(), nn.Linear(8, 8), SelfAttention(), nn.Softmax(-1))
    x = torch.randn(3, 5, 8)
    with AttentionRecorder(model) as recorder:
        model(x)
    history = recorder.history()
    assert history.module.tolist() == ["0", "2"]  # and not the last softmax
    for place, row in zip((0, 2), recorder.records, strict=True):
        assert row["max_logit"] == model[place].seen.max().item()
        entropy = attention_entropy(model[place].seen.softmax(-1))
        assert row["entropy"] == pytest.approx(entropy.mean().item(), rel=1e-5)
        assert row["minimum"] == pytest.approx(entropy.min().item() / math.log(5), rel=1e-5)


def test_mixed_precision_and_nan():
    model = gpt2()
    with torch.no_grad(), AttentionRecorder(model) as recorder, torch.autocast("cpu", torch.bfloat16):
        layers = model(IDS, output_attentions=True).attentions
    counts, visible = causal(torch.ones_like(IDS))
    found = recorder.history()[["entropy", "normalised", "minimum"]][:4]
    np.testing.assert_allclose(found, expected(layers[0].float(), counts, visible), rtol=0.01, atol=0.01)
    model.transformer.h[1].attn.c_attn.bias.data[0] = math.nan
    with torch.no_grad(), AttentionRecorder(model) as recorder:
        model(IDS)
    head = recorder.history().set_index(["layer", "head"]).loc[(1, 0)]
    assert math.isnan(head.entropy)
    assert math.isnan(head.max_logit)


def test_an_error_in_the_model_passes_through_and_the_next_pass_is_recorded():
    model = gpt2()
    with torch.no_grad(), AttentionRecorder(model) as recorder:
        with pytest.raises(IndexError):
            model(IDS + 1000)
        model.transformer.h[1].register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            model(IDS)
        model.transformer.h[1]._forward_pre_hooks.popitem()
        model(IDS)
    assert recorder.history().groupby("step").size().to_dict() == {1: 4, 2: 8}
    assert torch.backends.mha.get_fastpath_enabled()


def interrupt(*_):
    raise KeyboardInterrupt


def test_models_whose_attention_is_not_exposed():
    model = llama(attention="sdpa")
    with pytest.raises(ValueError, match=r"sdpa.*attn_implementation=\"eager\"") as error:
        AttentionRecorder(model).attach()
    assert "\n" not in str(error.value)
    assert not model._forward_hooks
    model.set_attn_implementation("eager")
    with torch.no_grad(), AttentionRecorder(model) as recorder:
        model(IDS)
    assert len(recorder.records) == 8
    with pytest.raises(ValueError, match="no attention"), AttentionRecorder(nn.Sequential(nn.Linear(2, 2))) as recorder:
        recorder.model(torch.zeros(2, 2))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="every"):
        AttentionRecorder(nn.Linear(2, 2), every=0)
    with pytest.raises(ValueError, match="model"):
        AttentionRecorder("gpt2")
    recorder = AttentionRecorder(gpt2()).attach()
    with pytest.raises(ValueError, match="not attached yet"):
        recorder.attach()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_number_that_cudnn_is_given_for_a_hidden_key(dtype):
    """torch writes -65504 where a boolean mask is False, which is far above what stands for a hidden key elsewhere."""
    q = torch.zeros(1, 1, 2, 8, dtype=dtype)
    bias = torch.tensor([[0.0, -65504.0], [-3.0, 0.0]], dtype=dtype)[None, None]
    mask, causal = _mask_and_causal(CUDNN, (q, q, q, bias, False), {})
    assert mask.isneginf().tolist() == [[[[False, True], [False, False]]]]
    assert causal is False
    assert _mask_and_causal(CUDNN, (q, q, q, None, False, 0.0, True), {}) == (None, True)
