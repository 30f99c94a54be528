"""Per-token statistics from hidden states against computing the logits and then TRL's functions on them; one thread."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from entropy_utils.language_model import token_statistics
from tests.bench.timing import alternate, row

TOKENS, HIDDEN, VOCABULARY = 2048, 512, 151_936
PEER = "logits, then TRL's selective_log_softmax and entropy_from_logits"


def inputs(tokens: int, gradient: bool = False) -> dict:
    """Random hidden states, an output matrix and token ids of a model of the size of Qwen's vocabulary."""
    g = torch.Generator().manual_seed(0)
    weight = torch.empty(VOCABULARY, HIDDEN).normal_(0, HIDDEN**-0.5, generator=g)
    hidden = torch.empty(tokens, HIDDEN).normal_(0, 2, generator=g)
    drawn = torch.randint(0, VOCABULARY, (tokens,), generator=g)
    return {"tokens": drawn, "hidden": hidden.requires_grad_(gradient), "weight": weight.requires_grad_(gradient)}


def ours(tokens, hidden, weight):
    """Log-probability and entropy (and, uncounted, two moments) from the hidden states."""
    found = token_statistics(tokens, hidden=hidden, weight=weight, entropy_grad=hidden.requires_grad)
    return found.log_prob, found.entropy


def peer(tokens, hidden, weight):
    """The same from all logits."""
    from trl.trainer.utils import entropy_from_logits, selective_log_softmax

    logits = hidden @ weight.T
    return selective_log_softmax(logits, tokens), entropy_from_logits(logits)


def with_gradient(call, data: dict) -> None:
    """Forward and backward through both quantities."""
    data["hidden"].grad = data["weight"].grad = None
    log_prob, entropy = call(**data)
    (log_prob.sum() + 0.1 * entropy.sum()).backward()


def highest() -> int:
    """The most memory this process has held, in bytes. (On Linux ru_maxrss starts at what the parent held.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS, in bytes


def peak(call) -> int:
    """Bytes that one call adds to the resident memory of this process at its highest point."""
    torch.set_num_threads(1)
    with torch.no_grad():
        call(torch.zeros(2, dtype=torch.long), torch.zeros(2, 8), torch.zeros(9, 8))
        data = inputs(TOKENS)
        before = psutil.Process().memory_info().rss
        call(**data)
    return highest() - before


def peak_alone(name: str) -> int:
    """`peak` of the function of this file called `name`, in a process of its own."""
    code = f"from tests.bench import token_statistics as b; print(b.peak(b.{name}))"
    return int(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()[-1]
    )


def bench_token_statistics() -> list[dict]:
    """Time and memory of the forward pass, and time of forward and backward on an eighth of the tokens."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        data = inputs(TOKENS)
        with torch.no_grad():
            forward = alternate(lambda: ours(**data), lambda: peer(**data), 3)
        data = inputs(TOKENS // 8, gradient=True)
        both = alternate(lambda: with_gradient(ours, data), lambda: with_gradient(peer, data), 3)
    finally:
        torch.set_num_threads(threads)
    memory = [peak_alone(name) / 2**20 for name in ("ours", "peer")]
    size = f"hidden {HIDDEN} x vocabulary {VOCABULARY}, float32, 1 thread"
    return [
        row(f"token_statistics, {TOKENS} tokens x {size}", *forward, PEER, "s", "<= 1.0", forward[0] <= forward[1]),
        row("token_statistics, peak extra memory of that", *memory, PEER, "MiB", "<= 1/8", memory[0] <= memory[1] / 8),
        row(f"token_statistics and backward, {TOKENS // 8} tokens", *both, PEER, "s", "<= 1.0", both[0] <= both[1]),
    ]
