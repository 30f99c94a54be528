"""What SHRED adds to a fine-tuning step on the same batch, its targets cached: whole updates in turns, one thread."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from entropy_utils.unlearning.corpus import encode_split, fictitious_authors, word_tokenizer
from entropy_utils.unlearning.memory import Memory
from entropy_utils.unlearning.objectives import Output, objective
from entropy_utils.unlearning.stacked_gpt2 import StackedGPT2
from tests.bench.timing import alternate, row

TINY_TURNS, LARGE_TURNS = 151, 9


def update(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """A whole update by AdamW; the rate is so small that the model, hence the work, stays as it is."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-12, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().sum().backward()
        optimizer.step()

    return step


def steps(model: torch.nn.Module, logits: Callable[[], torch.Tensor], labels: torch.Tensor, spec: str):
    """(a step of the objective, a plain fine-tuning step) on one batch."""
    method = objective(spec)
    with torch.no_grad():
        targets = method.prepare(Output(logits()), labels)

    def cross_entropy() -> torch.Tensor:
        z = logits()[..., :-1, :]
        return F.cross_entropy(z.flatten(0, -2), labels[..., 1:].expand(z.shape[:-1]).flatten())

    return update(model, lambda: method.loss(Output(logits()), labels, targets)), update(model, cross_entropy)


def bench_unlearning() -> list[dict]:
    """Milliseconds of a SHRED update and of a plain one: the room's three tiny models, and a vocabulary of 32768."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        corpus = fictitious_authors()
        tokenizer = word_tokenizer(corpus)
        models = [Memory().model(len(tokenizer), seed) for seed in range(3)]
        stack = StackedGPT2(models[0].config, [model.state_dict() for model in models])
        batch = {name: value[:4] for name, value in encode_split(tokenizer, corpus["forget"]).items()}
        cases = [("3 tiny models, batch 4", stack, lambda: stack(batch["input_ids"]), batch["labels"], 32, TINY_TURNS)]
        config = GPT2Config(
            vocab_size=32768, n_positions=64, n_embd=128, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
            bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        large = GPT2LMHeadModel(config)
        ids = torch.randint(32768, (4, 64))
        labels = ids.clone()
        labels[:, :16] = -100
        cases.append(("32768 tokens, batch 4 x 64", large, lambda: large(input_ids=ids).logits, labels, 64, LARGE_TURNS))
        found = []
        for name, model, logits, labels, top, turns in cases:
            pair = steps(model, logits, labels, f"shred share=0.25 top={top}")
            times = [1e3 * t for t in alternate(*pair, turns)]
            met = times[0] <= 1.3 * times[1]
            found.append(row(f"a SHRED step, {name}", *times, "fine-tuning", "ms", "<= 1.3", met))
        return found
    finally:
        torch.set_num_threads(threads)
