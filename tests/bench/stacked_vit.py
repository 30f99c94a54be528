"""Training steps of the tiny ViT of notebook 04, one thread: five seeds as one stack against five single models, and
against the same stack without the compiled kernels."""

from __future__ import annotations

import statistics
from unittest.mock import patch

import torch
from torch.nn import functional as F

from entropy_utils.attention_entropy import stacked_vit
from entropy_utils.attention_entropy.digits import digits
from entropy_utils.attention_entropy.training import Training
from tests.bench.timing import row, seconds

SEEDS, FIRST, TURNS = 5, 3, 25  # uncounted steps, then steps in turn: short turns meet the same load


def stacked(seeds: int, method: str):
    """A call that makes the next step of an experiment of so many seeds, records included."""
    experiment = Training(method=method, seeds=seeds, steps=10_000)
    records = experiment.run()
    return lambda: [next(records) for _ in range(seeds)]


def readable(method: str):
    """A call that makes one step of each of five `TinyViT`, without any record of entropies."""
    data, experiment = digits(), Training(method=method)
    models = [experiment.build(seed) for seed in range(SEEDS)]
    optimizers = [torch.optim.Adam(model.parameters(), lr=experiment.lr, fused=True) for model in models]

    def step() -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            drawn = torch.randint(len(data.train), (experiment.batch,))
            optimizer.zero_grad()
            F.cross_entropy(model(data.train[drawn]), data.train_labels[drawn]).backward()
            optimizer.step()

    return step


def bench_stacked_vit() -> list[dict]:
    """Plain and with sigmaReparam on every layer; all sides take turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        calls = {(side, method): make(method) for method in ("plain", "sigma") for side, make in SIDES.items()}
        times = {key: [] for key in calls}
        for turn in range(FIRST + TURNS):
            for key, call in calls.items():
                took = seconds(call)
                if turn >= FIRST:
                    times[key].append(took)
    finally:
        torch.set_num_threads(threads)
    found, unit = {key: 1e3 * statistics.median(values) / SEEDS for key, values in times.items()}, "ms/step and seed"
    rows = []
    for method in ("plain", "sigma"):
        stack, alone, plain = (found[side, method] for side in ("stack", "single", "readable"))
        name = f"tiny ViT, {method}: {SEEDS} seeds stacked"
        rows.append(row(name, stack, alone, "five single runs of ours", unit, "< 1", stack < alone))
        rows.append(row(name, stack, plain, "five TinyViT, no records", unit, "<= 0.75", stack <= 0.75 * plain))
    sigma, plain = found["stack", "sigma"], found["stack", "plain"]
    for method in ("plain", "sigma"):
        stack, torch_only = found["stack", method], found["torch", method]
        name = f"tiny ViT, {method}: stack with compiled kernels"
        rows.append(row(name, stack, torch_only, "the same stack, torch only", unit, "<= 0.7", stack <= 0.7 * torch_only))
    return [*rows, row("tiny ViT, stack: sigmaReparam", sigma, plain, "plain", unit, "<= 1.15", sigma <= 1.15 * plain)]


SIDES = {
    "stack": lambda method: stacked(SEEDS, method),
    "single": lambda method: _each([stacked(1, method) for _ in range(SEEDS)]),
    "readable": readable,
    "torch": lambda method: _torch_only(stacked(SEEDS, method)),
}


def _torch_only(call):
    def step() -> None:
        with patch.object(stacked_vit, "_fast", return_value=False):
            call()

    return step


def _each(calls: list):
    return lambda: [call() for call in calls]
