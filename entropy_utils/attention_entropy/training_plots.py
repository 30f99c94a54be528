"""Pictures of the training runs of notebook 04. Every function draws on the matplotlib figure it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

PLAIN, SIGMA, OTHER = "#D55E00", "#0072B2", "#009E73"  # of the methods, in every figure
COLOURS = (PLAIN, SIGMA, OTHER, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STEP, ENTROPY, LOSS = "training step", "attention entropy H / log T", "loss (nats)"


def live(fig: Figure, runs: list[tuple[str, pd.DataFrame]]) -> None:
    """For a workbench: loss and lowest layer entropy of the runs so far, and the heads of the newest one."""
    (loss, entropy), (heads, logit) = fig.subplots(2, 2)
    for (label, records), colour in zip(runs, COLOURS, strict=False):
        short = label if len(label) <= 40 else label[:39] + "…"
        _band(loss, records, "loss", colour, short)
        _band(entropy, records, "entropy_min", colour, None)
        _band(logit, records, "max_logit", colour, None)
        _ends(loss, records, "loss", colour)
    loss.set(xlabel=STEP, ylabel=LOSS, yscale="log")
    entropy.set(xlabel=STEP, ylabel="lowest layer's H / log T", ylim=(0, 1.02))
    logit.set(xlabel=STEP, ylabel="largest |logit|", yscale="log")
    loss.legend(loc="best", fontsize=7)
    _heat(fig, heads, runs[-1][1], None)


def entropy_and_loss(fig: Figure, runs: Mapping[str, pd.DataFrame]) -> None:
    """One column per run: entropy of every layer above, loss below; mean over the seeds and their full range.

    A cross marks where a seed diverged.
    """
    axes = fig.subplots(2, len(runs), sharex="col", sharey="row", squeeze=False)
    for column, (label, records) in enumerate(runs.items()):
        top, bottom = axes[:, column]
        layers = sorted({int(name.split("_")[1][1:]) for name in records.columns if name.startswith("entropy_l")})
        for layer in layers:
            own = records.filter(regex=rf"^entropy_l{layer}_h").mean(axis=1)
            table = records.assign(layer_entropy=own)
            _band(top, table, "layer_entropy", _shade(layer, len(layers)), f"layer {layer}")
        _band(bottom, records, "loss", "0.25", None)
        _ends(bottom, records, "loss", "0.25")
        top.set(title=label, ylim=(0, 1.02))
        bottom.set(xlabel=STEP, yscale="log")
    axes[0, 0].set(ylabel=ENTROPY)
    axes[1, 0].set(ylabel=LOSS)
    axes[0, 0].legend(loc="lower left", fontsize=7, ncols=2)


def heads(fig: Figure, runs: Mapping[str, pd.DataFrame], seed: int | None = None) -> None:
    """Heat maps, one per run: entropy of every head (rows, layer by layer) over the steps, of one seed, by default the
    first."""
    grid = fig.add_gridspec(1, len(runs) + 1, width_ratios=[1] * len(runs) + [0.05])
    axes = [fig.add_subplot(grid[column]) for column in range(len(runs))]
    for ax, (label, records) in zip(axes, runs.items(), strict=True):
        image = _heat(None, ax, records, seed)
        ax.set_title(label)
    for ax in axes[1:]:
        ax.set_ylabel("")
    fig.colorbar(image, cax=fig.add_subplot(grid[len(runs)], label="scale"), label=ENTROPY)


def accuracy_against_entropy(fig: Figure, groups: Mapping[str, pd.DataFrame]) -> None:
    """Test accuracy against minH, one dot per run and seed (rows of a `measures.summary`).

    At most three groups: plain pre-LN, sigmaReparam, plain post-LN.
    """
    ax = fig.subplots()
    for (label, rows), colour, marker in zip(groups.items(), (PLAIN, SIGMA, COLOURS[3]), "oDs", strict=False):
        ax.plot(rows.minH.clip(lower=1e-3), rows.accuracy, marker, color=colour, alpha=0.6, markersize=5, label=label)
    ax.axhline(0.1, color="0.5", lw=1, ls=":")
    ax.set(xscale="log", ylim=(0, 1))
    ax.set(xlabel="lowest attention entropy, min over steps and layers of H / log T", ylabel="test accuracy")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=8)


def dots(fig: Figure, table: pd.DataFrame, runs: Mapping[str, str] | Sequence[str]) -> None:
    """Rows of a table as a picture: accuracy and minH of every seed (dots) and their medians (bars); a cross: diverged."""
    runs = runs if isinstance(runs, Mapping) else {run: run for run in runs}
    shown = {}
    left, right = fig.subplots(1, 2, sharey=True)
    for place, run in enumerate(runs.values()):
        rows = table[table.run == run].sort_values("seed")
        spread = place + np.linspace(-0.22, 0.22, len(rows)) if len(rows) > 1 else np.array([place])
        bare = rows.method.iloc[0] == "plain" and not rows.warm_up.iloc[0] and not rows["clip"].iloc[0]
        kind = "plain" if bare else "sigmaReparam" if rows.method.iloc[0] == "sigma" else "other remedy"
        colour = {"plain": PLAIN, "sigmaReparam": SIGMA}.get(kind, OTHER)
        shown[kind] = colour
        for ax, values in ((left, rows.accuracy), (right, rows.minH.clip(lower=1e-3))):
            ax.plot(values, spread, "o", color=colour, markersize=4, alpha=0.75)
            ax.plot([values.median()] * 2, [place - 0.34, place + 0.34], color=colour, lw=2.2)
        bad = rows.diverged.to_numpy()
        left.plot(rows.accuracy[bad], spread[bad], "x", color="black", markersize=8)
    left.set_yticks(range(len(runs)), list(runs))
    left.set_ylim(len(runs) - 0.5, -0.5)
    left.axvline(0.1, color="0.5", lw=1, ls=":")
    left.set(xlabel="test accuracy", xlim=(0, 1))
    right.set(xlabel="lowest H / log T", xscale="log", xlim=(8e-4, 1.2))
    for name, colour in shown.items():
        right.plot([], [], "o", color=colour, label=name)
    fig.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=8)


def _band(ax, records: pd.DataFrame, column: str, colour, label: str | None) -> None:
    """Mean over the seeds that are still running, and their range; what is not finite is left out."""
    finite = records[np.isfinite(records[column].astype(float))]
    table = finite.pivot(index="step", columns="seed", values=column)
    ax.plot(table.index, table.mean(axis=1), color=colour, label=label, lw=1.4)
    ax.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.18, lw=0)


def _ends(ax, records: pd.DataFrame, column: str, colour) -> None:
    """A cross where a seed diverged, at its last finite value."""
    for seed in records.seed[records.diverged]:
        own = records[(records.seed == seed) & np.isfinite(records[column].astype(float))]
        if len(own):
            ax.plot(own.step.iloc[-1], own[column].iloc[-1], "x", color="black", markersize=8, mec=colour, mew=2)


def _heat(fig: Figure | None, ax, records: pd.DataFrame, seed: int | None):
    """The heads of one seed over the steps, drawn on `ax`; the image."""
    own = records[records.seed == (records.seed.min() if seed is None else seed)]
    names = [name for name in records.columns if name.startswith("entropy_l")]
    steps = own.step.to_numpy()
    extent = (steps[0] - 0.5, steps[-1] + 0.5, len(names) - 0.5, -0.5)
    values = own[names].to_numpy(dtype=float).T
    image = ax.imshow(values, aspect="auto", extent=extent, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    per_layer = sum(name.startswith("entropy_l0_") for name in names)
    layers = len(names) // per_layer
    ax.set_yticks([per_layer * (layer + 0.5) - 0.5 for layer in range(layers)], [str(layer) for layer in range(layers)])
    for layer in range(1, layers):
        ax.axhline(per_layer * layer - 0.5, color="white", lw=0.8)
    ax.grid(False)
    ax.set(xlabel=STEP, ylabel=f"layer ({per_layer} heads each)")
    if fig is not None:
        fig.colorbar(image, ax=ax, label="H / log T")
        ax.set_title(f"heads of seed {own.seed.iloc[0]}, newest run", fontsize=9)
    return image


def _shade(layer: int, layers: int) -> tuple[float, ...]:
    """Layers from dark to light blue-green, all readable on white."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.05 + 0.8 * layer / max(1, layers - 1))
