"""The figure of the learning rates shows every seed, and joins the medians."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from entropy_utils.attention_entropy.ladder_plots import ladders


def rows(method: str, lr: float, accuracies, std=0.18) -> list[dict]:
    return [
        {"run": f"{method} {lr} {std}", "method": method, "lr": lr, "std": std, "accuracy": x, "minH": x / 2}
        for x in accuracies
    ]


def test_dots_are_seeds_and_lines_join_medians():
    table = (
        rows("plain", 1e-3, (0.9, 0.7, 0.8)) + rows("plain", 1e-2, (0.1, 0.3, 0.5)) + rows("sigma", 1e-3, (0.6, 0.7, 0.8))
    )
    table = pd.DataFrame(table + rows("plain", 1e-2, (0.2, 0.4, 0.9), std=1.0))
    fig = Figure()
    ladders(
        fig, table, [f"plain {lr} 0.18" for lr in (1e-3, 1e-2)] + ["sigma 0.001 0.18"], ["plain 0.01 0.18", "plain 0.01 1.0"]
    )
    accuracy, entropy, starts = fig.axes
    dots, line = accuracy.get_lines()[:2]
    assert sorted(dots.get_ydata()) == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.8, 0.9])
    assert line.get_ydata() == pytest.approx([0.8, 0.3])
    assert entropy.get_lines()[1].get_ydata() == pytest.approx([0.4, 0.15])
    assert starts.get_lines()[1].get_xdata() == pytest.approx([0.18, 1.0])
    assert np.allclose(accuracy.get_xticks(), [1e-3, 1e-2])
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["pre-LN", "pre-LN, sigmaReparam"]
