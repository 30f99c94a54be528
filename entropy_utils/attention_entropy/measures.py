"""What notebook 04's claims need from its runs, as functions of the histories of a sweep."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import History

from .digits import digits
from .training import Training


def summary(histories: Mapping[str, History]) -> pd.DataFrame:
    """One row per run and seed: run, seed, accuracy, minH, max_logit, loss, rank, top, diverged, and the run's fields.

    minH: minimum over recorded steps and layers of the mean attention entropy over log T; max_logit: largest over the run;
    loss: the last one; rank, top: smallest stable rank and largest share of the top key over the layers, at the end.
    """
    found = []
    for name, history in histories.items():
        fields = history.experiment.model_dump(exclude={"seed", "seeds"})
        for seed, own in history.records.groupby("seed"):
            last = own.iloc[-1]
            found.append(
                {
                    "run": name,
                    "seed": seed,
                    "accuracy": last.accuracy,
                    "minH": own.entropy_min.min(),
                    "max_logit": own.max_logit.max(),
                    "loss": last.loss,
                    "rank": last.filter(like="rank_l").min(),
                    "top": last.filter(like="top_l").max(),
                    "diverged": bool(own.diverged.any()),
                    **fields,
                }
            )
    return pd.DataFrame(found)


def of(table: pd.DataFrame, run: str, column: str = "accuracy") -> np.ndarray:
    """One column of a `summary` for one run, in the order of the seeds."""
    rows = table[table.run == run].sort_values("seed")
    if not len(rows):
        raise ParameterError.of("run", run, ", ".join(sorted(table.run.unique())))
    return rows[column].to_numpy()


def accuracy_gap(table: pd.DataFrame, better: str, worse: str) -> float:
    """Smallest accuracy of one run's seeds minus the largest of another's: above 0 if every seed is better."""
    return float(of(table, better).min() - of(table, worse).max())


def plain(table: pd.DataFrame, norm: str) -> pd.DataFrame:
    """The rows of plain runs of one norm without a change of temperature, warm-up or clipping, of any rate and start."""
    return table[
        (table.method == "plain")
        & (table.norm == norm)
        & (table.temperature == 1)
        & (table.warm_up == 0)
        & (table["clip"] == 0)  # table.clip is a method
        & (table.steps == table.steps.min())
    ]


def rank_correlation(rows: pd.DataFrame) -> float:
    """Spearman's correlation of minH and accuracy over the rows of a `summary`."""
    return float(rows.minH.corr(rows.accuracy, method="spearman"))


def first_step_norms(
    widths: Iterable[int] = (16, 32, 64, 128, 256), seeds: Iterable[int] = range(3), std: float | None = None
) -> dict[int, float]:
    """Width -> spectral norm of Adam's first step of W_Q and W_K over the learning rate, of a two-layer pre-LN ViT.

    Mean over seeds, layers and the two matrices. std: of the initial weights, 1 / sqrt(width) by default.
    """
    data, seeds, found = digits(), list(seeds), {}
    for width in widths:
        norms = []
        for seed in seeds:
            model = Training(width=width, layers=2, std=std or width**-0.5).build(seed)
            drawn = torch.randint(len(data.train), (64,), generator=torch.Generator().manual_seed(seed))
            F.cross_entropy(model(data.train[drawn]), data.train_labels[drawn]).backward()
            for block in model.blocks:
                for layer in (block.attention.q, block.attention.k):
                    step = layer.weight.grad / (layer.weight.grad.abs() + 1e-8)  # Adam's, at its first step
                    norms.append(torch.linalg.matrix_norm(step, 2).item())
        found[width] = statistics.mean(norms)
    return found


def exponent(norms: Mapping[int, float]) -> float:
    """The slope of log norm against log width."""
    return float(np.polyfit(np.log(list(norms)), np.log(list(norms.values())), 1)[0])


def step_times(experiments: Mapping[str, Training], turns: int = 30) -> pd.DataFrame:
    """Milliseconds per training step and seed, one column per experiment, one row per turn: they take turns, step by step.

    The time that this process computes, so that others on the machine count little.
    """
    first = 3  # uncounted steps of each
    running = {name: experiment.replace(steps=turns + first + 1).run() for name, experiment in experiments.items()}
    rows = []
    for turn in range(turns + first):
        row = {}
        for name, records in running.items():
            start = time.process_time()
            for _ in range(experiments[name].seeds):
                next(records)
            row[name] = 1e3 * (time.process_time() - start) / experiments[name].seeds
        if turn >= first:
            rows.append(row)
    return pd.DataFrame(rows)
