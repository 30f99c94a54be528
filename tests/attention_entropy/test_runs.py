"""The plan of notebook 04's runs, what is measured on them, and their pictures."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from entropy_utils import lab
from entropy_utils.attention_entropy import measures, runs, training_plots
from entropy_utils.attention_entropy.training import Training
from entropy_utils.lab.experiment import History


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_every_configuration_is_run_once_and_every_table_is_filled(profile):
    plan = runs.plan(profile, seed=7)
    assert len({experiment.replace(seeds=1) for experiment in plan.values()}) == len(plan)
    assert {experiment.seed for experiment in plan.values()} == {7}
    for name in runs.TABLES:
        rows = runs.table(name, profile)
        assert len(rows) >= 2
        assert set(rows.values()) <= set(plan)
    listed = {run for name in runs.TABLES for run in runs.table(name, profile).values()}
    assert listed == set(plan)


def test_labels_say_what_is_run():
    plan = runs.plan()
    for label, name in (runs.table("ladder") | runs.table("std")).items():
        field, value = label.split(",")[0].split()
        assert getattr(plan[name], field) == float(value)
        assert ("sigma" in label) == (plan[name].method == "sigma")
        assert plan[name].norm == "pre"
    assert all(plan[name].norm == name.split(",")[0].split()[1] for name in plan if name[:2] in ("A ", "B "))
    assert plan["B pre, unit start and matched rate"].lr == pytest.approx(3e-2 / (2 * 0.5 * math.sqrt(32)), rel=0.02)
    assert {plan[name].seeds for name in runs.table("B").values()} == {5}


def made(accuracy: dict[str, list[float]], lows: dict[str, list[float]], **fields) -> dict[str, History]:
    """Histories of two steps with given accuracies and entropies."""
    found = {}
    for name, values in accuracy.items():
        records = []
        for seed, (value, low) in enumerate(zip(values, lows[name], strict=True)):
            for step, entropy in ((0, low + 0.2), (1, low), (2, low + 0.1)):
                last = step == 2
                records.append(
                    {
                        "step": step, "seed": seed, "loss": 2.0 - step, "entropy": entropy, "entropy_min": entropy,
                        "entropy_l0_h0": entropy, "entropy_l0_h1": entropy, "entropy_l1_h0": 1.0, "entropy_l1_h1": 0.9,
                        "max_logit": 3.0 + step, "diverged": last and value < 0.1, "accuracy": value if last else None,
                        "rank_l0": 1.5 if last else None, "rank_l1": 1.2 if last else None,
                        "top_l0": 0.3 if last else None, "top_l1": 0.7 if last else None,
                    }
                )  # fmt: skip
        found[name] = History.of(Training(seeds=len(values), **fields), records, 1.0)
    return found


HISTORIES = made(
    {"good": [0.9, 0.92, 0.95], "bad": [0.5, 0.88, 0.05], "worse": [0.2, 0.3, 0.1]},
    {"good": [0.5, 0.6, 0.7], "bad": [0.04, 0.02, 0.03], "worse": [0.01, 0.001, 0.002]},
)


def test_measures_of_known_histories():
    table = measures.summary(HISTORIES)
    assert measures.of(table, "bad", "minH").tolist() == [0.04, 0.02, 0.03]
    assert measures.accuracy_gap(table, "good", "bad") == pytest.approx(0.02)
    assert measures.accuracy_gap(table, "bad", "worse") < 0
    assert measures.rank_correlation(table) == pytest.approx(spearmanr(table.minH, table.accuracy).statistic)
    first = table[(table.run == "bad") & (table.seed == 2)].iloc[0]
    assert (first["max_logit"], first["rank"], first["top"], first["loss"]) == (5.0, 1.2, 0.7, 0.0)
    assert table.diverged.sum() == 1
    with pytest.raises(lab.ParameterError, match="field 'run': got 'none'"):
        measures.of(table, "none")


def test_only_plain_runs_are_pooled():
    histories = HISTORIES | made({"sigma": [0.9]}, {"sigma": [0.9]}, method="sigma")
    histories |= made({"warm": [0.9]}, {"warm": [0.9]}, warm_up=5)
    histories |= made({"post": [0.9]}, {"post": [0.9]}, norm="post")
    histories |= made({"cold": [0.9]}, {"cold": [0.9]}, temperature=0.1)
    histories |= made({"long": [0.9]}, {"long": [0.9]}, steps=1000)
    table = measures.summary(histories)
    assert set(measures.plain(table, "pre").run) == {"good", "bad", "worse"}
    assert set(measures.plain(table, "post").run) == {"post"}


def test_the_first_step_of_adam_has_the_norm_that_the_optimiser_makes():
    found = measures.first_step_norms((16,), seeds=[3])[16]
    experiment = Training(width=16, layers=2, std=0.25, seed=3)
    model, data = experiment.build(3), measures.digits()
    drawn = torch.randint(1437, (64,), generator=torch.Generator().manual_seed(3))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    torch.nn.functional.cross_entropy(model(data.train[drawn]), data.train_labels[drawn]).backward()
    torch.optim.Adam(model.parameters(), lr=1e-2).step()
    norms = [
        torch.linalg.matrix_norm(parameter.detach() - before[name], 2).item() / 1e-2
        for name, parameter in model.named_parameters()
        if name.endswith(("attention.q.weight", "attention.k.weight"))
    ]
    assert found == pytest.approx(np.mean(norms), rel=1e-3)
    assert 4 <= found <= 16  # Proposition 3.2 and the ceiling
    assert measures.exponent({2: 3.0, 4: 12.0, 8: 48.0}) == pytest.approx(2)


def test_step_times_take_turns():
    small = Training(seeds=1, layers=1, batch=4)
    times = measures.step_times({"plain": small, "sigma": small.replace(method="sigma")}, turns=3)
    assert times.shape == (3, 2)
    assert (times > 0).all(axis=None)


def drawn(plot, *arguments, **options) -> Figure:
    figure = Figure(figsize=(8, 5), layout="constrained")
    plot(figure, *arguments, **options)
    figure.canvas.draw()
    return figure


def test_pictures_show_the_runs():
    records = {name: history.records for name, history in HISTORIES.items()}
    table = measures.summary(HISTORIES)
    figure = drawn(training_plots.entropy_and_loss, records)
    assert [ax.get_title() + ax.get_title(loc="left") for ax in figure.axes[:3]] == list(records)
    line = figure.axes[0].lines[0]  # layer 0 of the first run: mean over its seeds
    np.testing.assert_allclose(line.get_ydata(), [0.8, 0.6, 0.7])
    figure = drawn(training_plots.heads, records, seed=1)
    image = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(image[0], [0.22, 0.02, 0.12])
    assert image.shape == (4, 3)
    figure = drawn(training_plots.dots, table, {"first": "good", "second": "bad"})
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["first", "second"]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), [0.9, 0.92, 0.95])
    assert figure.axes[0].lines[1].get_xdata()[0] == pytest.approx(0.92)
    figure = drawn(training_plots.accuracy_against_entropy, {"all": table})
    assert len(figure.axes[0].lines[0].get_xdata()) == 9


def test_a_workbench_runs_and_draws():
    bench = lab.Workbench(
        Training, training_plots.live, notebook="04", profile="smoke",
        fields={"method": None, "norm": None, "lr": None, "std": None, "warm_up": None, "steps": None},
    )  # fmt: skip
    bench.controls["method"].value = "sigma"
    bench.controls["steps"].value = 5
    bench.run()
    assert bench.wait(60)
    assert bench.error is None
    history = bench.histories[-1]
    assert history.experiment == Training.profile("smoke", method="sigma", steps=5)
    assert len(history.records) == 10
    assert bench.png.startswith(b"\x89PNG")


def test_the_live_picture_of_a_run_that_diverged():
    """A seed that ended at step 1 with a loss that is no number."""
    records = HISTORIES["bad"].records.copy()
    records = records[(records.seed != 1) | (records.step < 2)]
    at = (records.seed == 1) & (records.step == 1)
    records.loc[at, ["loss", "entropy_l0_h0"]] = np.nan
    records.loc[at, "diverged"] = True
    records = pd.DataFrame(records)
    figure = drawn(training_plots.live, [("one", records), ("two", records)])
    assert figure.axes[0].get_xlabel() == "training step"
