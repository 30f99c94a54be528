"""Attention entropy from queries and keys against the whole matrix; what a recorder adds to a training step; one thread."""

from __future__ import annotations

import subprocess
import sys

import psutil
import torch
from torch import Tensor

from entropy_utils.attention_entropy.entropy import attention_entropy_from_qk
from entropy_utils.attention_entropy.recorder import AttentionRecorder
from tests.bench.timing import alternate, row
from tests.bench.token_statistics import highest

TOKENS, HEADS, WIDTH = 4096, 8, 64
PEER = "q k^T, log_softmax, -sum p log p"


def inputs(tokens: int) -> tuple[Tensor, Tensor]:
    """Random queries and keys of one sequence."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(1, HEADS, tokens, WIDTH, generator=g), torch.randn(1, HEADS, tokens, WIDTH, generator=g)


def ours(q: Tensor, k: Tensor, causal: bool = False) -> Tensor:
    """The entropy of each row, block by block."""
    return attention_entropy_from_qk(q, k, causal=causal)


def peer(q: Tensor, k: Tensor, causal: bool = False) -> Tensor:
    """The same from the whole matrix, without any care for masks or for 0 log 0 where none is asked for."""
    logits = q @ k.mT * WIDTH**-0.5
    if causal:
        hidden = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        log_p = logits.masked_fill(hidden, -torch.inf).log_softmax(-1)
        return -(log_p.exp() * log_p.masked_fill(hidden, 0)).sum(-1)
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def peak(call) -> int:
    """Bytes that one call adds to the resident memory of this process at its highest point."""
    torch.set_num_threads(1)
    with torch.no_grad():
        call(*inputs(64))
        q, k = inputs(TOKENS)
        before = psutil.Process().memory_info().rss
        call(q, k)
    return highest() - before


def peak_alone(name: str) -> int:
    """`peak` of the function of this file called `name`, in a process of its own."""
    code = f"from tests.bench import attention_entropy as b; print(b.peak(b.{name}))"
    return int(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()[-1]
    )


def bench_attention_entropy() -> list[dict]:
    """Time, bidirectional and causal, and memory: against one full matrix in float32, and against what the peer holds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        q, k = inputs(TOKENS)
        with torch.no_grad():
            plain = alternate(lambda: ours(q, k), lambda: peer(q, k), 3)
            causal = alternate(lambda: ours(q, k, True), lambda: peer(q, k, True), 3)
    finally:
        torch.set_num_threads(threads)
    memory, of_peer = [peak_alone(name) / 2**20 for name in ("ours", "peer")]
    matrix = HEADS * TOKENS**2 * 4 / 2**20
    size = f"{TOKENS} tokens x {HEADS} heads of {WIDTH}, float32, 1 thread"
    return [
        row(f"attention entropy, {size}", *plain, PEER, "s", "<= 1.5", plain[0] <= 1.5 * plain[1]),
        row("attention entropy, causal", *causal, PEER, "s", "<= 1.5", causal[0] <= 1.5 * causal[1]),
        row("its peak extra memory", memory, matrix, "one full matrix", "MiB", "<= 1/8", memory <= matrix / 8),
        row("its peak extra memory", memory, of_peer, f"peak of {PEER}", "MiB", "<= 1/8", memory <= of_peer / 8),
    ]


def training(width: int, layers: int, heads: int, batch: int, tokens: int):
    """A GPT-2 (eager) with its optimiser, and a function that does one training step."""
    from transformers import GPT2Config, GPT2LMHeadModel

    special = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(vocab_size=256, n_positions=tokens, n_embd=width, n_layer=layers, n_head=heads, **special)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-4)
    ids = torch.randint(0, 256, (batch, tokens))

    def step():
        optimiser.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimiser.step()

    return model, step


def bench_recorder() -> list[dict]:
    """A training step that is recorded against the same step without a recorder: a tiny model, and a broader one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = []
        for width, layers, heads, batch, tokens in [(32, 4, 4, 64, 17), (256, 4, 4, 8, 128)]:
            model, step = training(width, layers, heads, batch, tokens)
            for every in (1, 10):
                recorder = AttentionRecorder(model, every=every)

                def several(step=step, every=every):
                    for _ in range(every):
                        step()

                def recorded(recorder=recorder, several=several):
                    with recorder:
                        several()

                both = alternate(recorded, several, 5 if every == 1 else 3)
                size = f"GPT-2 of width {width}, {layers} layers, {batch} x {tokens} tokens"
                name = f"training step, 1 in {every} recorded: {size}"
                found.append(row(name, *(t / every for t in both), "the step", "s", "none", True))
        return found
    finally:
        torch.set_num_threads(threads)
