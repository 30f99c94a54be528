"""The floors inside a network against its own attention, and the scale law with its two ways of being broken."""

import itertools

import numpy as np
import pytest
import torch

from entropy_utils.attention_entropy.digits import digits
from entropy_utils.attention_entropy.entropy import attention_entropy_from_qk
from entropy_utils.attention_entropy.network_floors import network_floors
from entropy_utils.attention_entropy.scale_law import scaled_losses
from entropy_utils.attention_entropy.tiny_vit import TinyViT
from entropy_utils.lab.errors import ParameterError


def test_the_chain_starts_at_the_entropy_of_the_network_and_falls():
    vit = TinyViT(layers=2, std=0.3, generator=torch.Generator().manual_seed(1)).double()
    images, seen = digits().train[:3].double(), []
    for block in vit.blocks:
        block.attention.register_forward_hook(lambda layer, inputs, _: seen.append((layer, inputs[0])))
    vit(images)
    entropy = []
    for layer, x in seen:
        q, k = (part(x).unflatten(-1, (4, 8)).transpose(1, 2) for part in (layer.q, layer.k))
        entropy.append(attention_entropy_from_qk(q, k).transpose(0, 1))
    seen.clear()
    chain = list(network_floors(vit, images).values())
    assert chain[0] == pytest.approx(torch.stack(entropy).detach().numpy(), abs=1e-12)
    assert all((low <= high + 1e-12).all() for high, low in itertools.pairwise(chain))
    assert len(seen) == 2  # its own hooks are gone, ours are still there


def test_the_network_is_left_in_float32_and_what_the_floors_do_not_cover_is_refused():
    images = digits().train[:2]
    vit = TinyViT(layers=1, generator=torch.Generator().manual_seed(1))
    network_floors(vit, images)
    assert {tensor.dtype for tensor in vit.state_dict().values()} == {torch.float32}
    vit(images)
    biased, cold = TinyViT(layers=1), TinyViT(layers=1)
    torch.nn.init.ones_(biased.blocks[0].attention.k.bias)
    cold.blocks[0].attention.temperature = 0.1
    for wrong in (biased, cold, TinyViT(layers=1, qk_norm=True), TinyViT(layers=1, soft_cap=5.0)):
        with pytest.raises(ParameterError, match="without biases"):
            network_floors(wrong, images)


def test_weights_and_rate_times_seven_train_alike_and_one_alone_does_not():
    plain = scaled_losses(1.0, 1.0, steps=3)
    assert scaled_losses(7.0, 7.0, steps=3) == pytest.approx(plain, abs=1e-10)
    for scale, rate in ((7.0, 1.0), (1.0, 7.0)):
        assert np.abs(np.subtract(scaled_losses(scale, rate, steps=3), plain)).max() > 1e-3
    assert scaled_losses(7.0, 1.0, steps=1) == pytest.approx(plain[:1], abs=1e-12)  # the function at the start is the same
