"""A workbench runs an experiment beside the page: it stops within a record, survives errors, keeps runs to compare."""

import ast
import base64
import io
import shlex
import threading
import time

import nbformat
import numpy as np
import pytest
from click.testing import CliRunner
from papermill.cli import papermill
from PIL import Image

from entropy_utils.lab import ParameterError, Workbench, collect
from entropy_utils.lab.workbench import papermill_command
from tests.lab.toy import Toy
from tests.throwaway import notebook

SECONDS = 30  # far more than any of these runs takes


def curves(fig, runs):
    ax = fig.subplots()
    for label, frame in runs:
        ax.plot(frame["step"], frame["value"], label=label)
    ax.set(xlabel="step", ylabel="value")
    ax.legend()


def bench(experiment=Toy, plot=curves, **more):
    return Workbench(experiment, plot, figsize=(4, 2.5), alt="Value over step.", **more)


def test_a_run_ends_with_its_curve_and_history():
    made = bench()
    empty = made.png
    made.controls["steps"].value = 4
    made.run()
    assert made.wait(SECONDS)
    assert made.png != empty
    assert "4 records" in made.message.value
    history = made.histories[0]
    assert history.completed
    assert history.experiment == Toy(steps=4)
    assert list(history.records["step"]) == [0, 1, 2, 3]
    assert (made.run_button.disabled, made.stop_button.disabled) == (False, True)


def test_stop_acts_within_one_record():
    reached, go_on = threading.Event(), threading.Event()

    class Stepwise(Toy):
        def run(self):
            for step in range(self.steps):
                if step == 5:
                    reached.set()
                    go_on.wait(SECONDS)
                yield {"step": step, "value": 0.0}

    made = bench(Stepwise)
    made.controls["steps"].value = 5000
    made.run_button.click()
    assert reached.wait(SECONDS)
    assert made.running
    assert not made.stop_button.disabled
    made.stop_button.click()
    go_on.set()
    assert made.wait(SECONDS)
    assert list(made.histories[0].records["step"]) == [0, 1, 2, 3, 4, 5]
    assert not made.histories[0].completed
    assert "stopped: 6 records" in made.message.value


def test_a_second_run_is_refused_while_one_is_on_its_way():
    made = bench(Toy(pause_s=0.01, steps=1000))
    made.run()
    made.run()
    assert made.message.value == "still running"
    made.stop()
    assert made.wait(SECONDS)
    assert len(made.histories) == 1


def test_an_error_inside_the_run_is_shown_and_the_bench_stays_usable():
    made = bench(Toy(fail_at=3, steps=6))
    made.run()
    assert made.wait(SECONDS)
    assert "RuntimeError: no &lt;step&gt; 3" in made.message.value
    assert isinstance(made.error, RuntimeError)
    assert len(made.histories[0].records) == 3
    assert not made.run_button.disabled
    made.controls["fail_at"].value = "-1"
    made.run()
    assert made.wait(SECONDS)
    assert made.error is None
    assert [len(history.records) for history in made.histories] == [3, 6]


def test_an_error_in_the_plot_is_shown_and_the_run_goes_on():
    def plot(fig, runs):
        raise KeyError("no column")

    made = bench(plot=plot)
    made.run()
    assert made.wait(SECONDS)
    assert "no column" in made.message.value
    assert len(made.histories[0].records) == 10


def test_runs_stay_for_comparison_with_labels_that_tell_them_apart():
    seen = []

    def plot(fig, runs):
        seen[:] = [(label, len(frame)) for label, frame in runs]

    made = bench(plot=plot, histories=[collect(Toy(steps=2), progress=False)])
    assert seen == [("steps 2", 2)]
    for steps, kind in ((3, "plain"), (4, "odd")):
        made.controls["steps"].value, made.controls["kind"].value = steps, kind
        made.run()
        assert made.wait(SECONDS)
    assert seen == [("steps 2", 2), ("1: steps 3", 3), ("2: steps 4, kind odd", 4)]
    made.reset()
    assert seen == [("steps 2", 2)]
    assert made.experiment == Toy()
    assert made.controls["kind"].value == "plain"


def test_reset_stops_a_run_and_forgets_it():
    made = bench(Toy(pause_s=0.01, steps=5000))
    made.run()
    time.sleep(0.05)
    made.reset()
    assert made.wait(SECONDS)
    assert made.histories == []
    assert made.message.value == ""
    made.controls["steps"].value = 2
    made.run()
    assert made.wait(SECONDS)
    assert [len(h.records) for h in made.histories] == [2]


def test_curves_are_drawn_while_the_run_goes_on():
    drawn = []
    made = bench(Toy(pause_s=0.01, steps=80), plot=lambda fig, runs: drawn.append(len(runs[0][1])))
    made.run()
    assert made.wait(SECONDS)
    assert drawn == sorted(drawn)
    assert 2 <= len(drawn) <= 10
    assert drawn[-1] == 80


def test_controls_come_from_the_fields():
    made = bench()
    kinds = {name: type(widget).__name__ for name, widget in made.controls.items()}
    assert kinds == {
        "seed": "BoundedIntText", "steps": "IntSlider", "rate": "FloatLogSlider", "share": "FloatSlider",
        "width": "FloatLogSlider", "kind": "Dropdown", "fast": "Checkbox", "sizes": "Text", "target": "Text",
        "name": "Text", "pause_s": "Text", "fail_at": "Text",
    }  # fmt: skip
    assert (made.controls["steps"].min, made.controls["steps"].max) == (1, 5000)
    assert made.controls["kind"].options == ("plain", "odd")
    assert made.controls["rate"].tooltip == "pace [1/step]"
    assert list(bench(fields=["share", "steps"]).controls) == ["share", "steps"]
    chosen = bench(fields={"steps": None, "name": ["toy", "car"]})
    assert chosen.controls["name"].options == ("toy", "car")
    chosen.controls["name"].value = "car"
    assert chosen.experiment == Toy(name="car")
    with pytest.raises(ParameterError, match="field 'fields': got 'stepz'"):
        bench(fields=["stepz"])


def test_controls_left_alone_leave_the_experiment_as_it_is():
    start = Toy(rate=0.000123456789, share=1 / 3, width=12345, sizes=(1,), target=0.1 + 0.2, name="n")
    assert bench(start).experiment == start


def test_every_extreme_of_every_control_is_a_valid_experiment():
    made = bench()
    for name, widget in made.controls.items():
        ends = [widget.min, widget.max] if hasattr(widget, "max") else []
        if type(widget).__name__ == "FloatLogSlider":
            ends = [10.0**end for end in ends]
        for end in ends:
            widget.value = end
            assert getattr(made.experiment, name) is not None
    assert made.experiment.width == 10**6
    rng = np.random.default_rng(0)
    for _ in range(200):
        made.controls["rate"].value = 10 ** rng.uniform(-6, 0)
        made.controls["width"].value = 10 ** rng.uniform(0, 6)
        made.controls["share"].value = rng.uniform()
        assert 0 < made.experiment.rate <= 1
        assert made.message.value == ""


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("sizes", "[1, 'a']", "field &#x27;sizes[1]&#x27;: got &#x27;a&#x27; (str), allowed: list of integer"),
        ("sizes", "1e-3 or so", "field &#x27;sizes&#x27;: got &#x27;1e-3 or so&#x27; (str)"),
        ("target", "'1e-3'", "field &#x27;target&#x27;: got &#x27;1e-3&#x27; (str), allowed: finite number or None"),
        ("name", "42", "field &#x27;name&#x27;: got &#x27;42&#x27; (str), allowed: text matching"),
        ("fail_at", "11", "Toy: fail_at 11 lies after the last step 10"),
    ],
)
def test_a_bad_value_is_one_line_in_the_panel_and_nothing_runs(name, value, line):
    made = bench()
    made.controls[name].value = value
    assert line in made.message.value
    assert "\n" not in made.message.value
    made.run_button.click()
    assert line in made.message.value
    assert not made.running
    with pytest.raises(ParameterError):
        made.run()
    assert made.histories == []


def test_a_text_control_takes_values_as_python_writes_them():
    made = bench()
    made.controls["target"].value, made.controls["sizes"].value = "1e-3", "(8, 9)"
    assert made.experiment == Toy(target=1e-3, sizes=(8, 9))


def test_the_command_survives_shell_and_yaml(tmp_path):
    start = Toy(seed=7, rate=1e-05, target=-2.5e-07, share=0.1, kind="odd", fast=False, sizes=(1, 2), name="yes")
    made = bench(start)
    made.controls["steps"].value = 17
    words = made.command
    assert words.startswith("papermill notebooks/05_entropy_mechanism.ipynb out.ipynb -p profile laptop -p seed 7 -y ")
    parameters = injected(papermill_command("in.ipynb", "smoke", made.experiment), tmp_path)
    assert parameters["profile"] == "smoke"
    assert Toy.profile("smoke", seed=parameters["seed"], **parameters["overrides"]) == start.replace(steps=17)
    plain = injected(papermill_command("in.ipynb", "smoke", Toy.profile("smoke")), tmp_path)
    assert plain == {"profile": "smoke", "seed": 0}


def injected(command: str, folder) -> dict:
    """The parameters that papermill puts into a notebook when the command is typed into a shell."""
    notebook(folder, "05", []).rename(folder / "in.ipynb")
    words = [str(folder / word) if word.endswith(".ipynb") else word for word in shlex.split(command)[1:]]
    done = CliRunner().invoke(papermill, [*words, "--prepare-only"])
    assert done.exit_code == 0, done.output
    cell = nbformat.read(folder / "out.ipynb", as_version=4).cells[1]
    assert cell.source.startswith("# Parameters\n")
    return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}


def test_without_a_kernel_there_is_a_picture_even_before_a_run():
    data, metadata = bench()._repr_mimebundle_()
    frame = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("L"))
    assert (frame < 200).any()
    assert data["text/plain"] == metadata["image/png"]["alt"] == "Value over step."
    assert "application/vnd.jupyter.widget-view+json" in data


def test_choices_of_a_field_become_a_menu():
    from entropy_utils.policy_entropy.grpo import GRPO

    methods = ["none", "kl_cov share=0.2 coefficient=3"]
    bench = Workbench(GRPO.profile("smoke"), lambda fig, runs: None, fields={"intervention": methods, "lr": None})
    assert list(bench.controls) == ["intervention", "lr"]
    bench.controls["intervention"].value = methods[1]
    assert bench.experiment.intervention.name == "kl_cov"
    assert bench.experiment.intervention.coefficient == 3.0
