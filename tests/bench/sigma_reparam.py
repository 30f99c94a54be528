"""A training step with SigmaReparam on every linear layer against the plain step and torch's spectral norm; one thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from entropy_utils.attention_entropy.rivals import spectral_norm
from entropy_utils.attention_entropy.sigma_reparam import reparametrize
from entropy_utils.attention_entropy.tiny_vit import TinyViT
from tests.bench.timing import alternate, row

REPEATS = 40
PREPARED = {"sigma": reparametrize, "spectral": spectral_norm, "plain": lambda model: model}


def vit() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor], str]:
    """The tiny ViT of notebook 04, its loss on one batch, and its size in words."""
    images, labels = torch.randn(64, 16, 4), torch.randint(10, (64,))
    model = TinyViT(generator=torch.Generator().manual_seed(0))
    return model, lambda m: F.cross_entropy(m(images), labels), "tiny ViT, width 32, 4 blocks, 64 x 17 tokens"


def gpt() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor], str]:
    """A tiny GPT-2 of transformers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 256, "n_positions": 64, "n_embd": 64, "n_layer": 4, "n_head": 4}
    drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    ids = torch.randint(256, (16, 64))
    config = GPT2Config(**sizes, **drop, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0)
    name = "tiny GPT-2, width 64, 4 blocks, 16 x 64 tokens"
    return GPT2LMHeadModel(config), lambda m: m(input_ids=ids, labels=ids, use_cache=False).loss, name


def step(make: Callable, method: str, fused: bool = True) -> Callable[[], None]:
    """One step of Adam (forward, backward, update; fused, as `training.Training` has it) of a model prepared by `method`.

    Without `fused` torch's Adam loops over the tensors in Python, where the 26 scalars gamma of the ViT cost as much as
    26 matrices: some 4 % of the step more.
    """
    model, loss, _ = make()
    model = PREPARED[method](model).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)

    def call() -> None:
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()

    return call


def bench_sigma_reparam() -> list[dict]:
    """Both models, with a fused Adam and with torch's default, against both peers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    try:
        for make, fused in itertools.product((vit, gpt), (True, False)):
            name = f"step with SigmaReparam, {make()[2]}, {'fused' if fused else 'default'} Adam"
            for peer, words, goal in (("plain", "the plain step", 1.15), ("spectral", "spectral_norm of torch", 1.0)):
                ours, theirs = alternate(step(make, "sigma", fused), step(make, peer, fused), REPEATS)
                rows.append(row(name, 1e3 * ours, 1e3 * theirs, words, "ms", f"<= {goal}", ours <= goal * theirs))
    finally:
        torch.set_num_threads(threads)
    return rows
