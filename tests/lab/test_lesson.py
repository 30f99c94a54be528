"""Opening a notebook checks everything first; a lesson hands out experiments, picks, claims and exercises."""

import os
import random
import sys
import types

import numpy as np
import pytest

from entropy_utils import lab
from entropy_utils.lab import catalogue, lesson
from tests.lab.toy import HubToy, Toy
from tests.throwaway import claim, collection, entry

WITH_TOY = 'experiment = "tests.lab.toy:Toy"\nhub = "tests.lab.toy:HubToy"\nexercises = "tests.lab.toy:EXERCISES"\n'


@pytest.fixture(autouse=True)
def _two_notebooks(tmp_path, monkeypatch):
    """04 has neither experiment nor claims; 05 has the toy experiment, its exercise and two claims."""
    path = collection(tmp_path, [entry("04"), entry("05", more=WITH_TOY + claim("05.x") + claim("05.y"))])
    known = catalogue.Catalogue.load(path)
    monkeypatch.setattr(lesson, "collection", lambda: known)
    for name in ("ENTROPY_PROFILE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_open_prints_one_line_and_makes_the_experiment(capsys):
    opened = lab.open("05", "smoke", 7, {"rate": 0.5})
    line = capsys.readouterr().out
    assert line.startswith("05 Throwaway 05 | smoke | seed 7 | rate=0.5 | ")
    assert line.count("\n") == 1
    assert opened.experiment() == Toy(steps=3, seed=7, rate=0.5)
    assert opened.smoke


def test_the_profile_comes_from_the_environment_unless_given(monkeypatch):
    assert lab.open("04").profile == "laptop"
    monkeypatch.setenv("ENTROPY_PROFILE", "smoke")
    assert lab.open("04").profile == "smoke"
    assert lab.open("04", "gpu").profile == "gpu"
    monkeypatch.setenv("ENTROPY_PROFILE", "fast")
    with pytest.raises(lab.ParameterError, match=r"field 'profile': got 'fast' \(str\), allowed: smoke or laptop"):
        lab.open("04")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("06",), r"field 'notebook': got '06' \(str\), allowed: 04, 05"),
        (("05", "laptob"), r"field 'profile': got 'laptob' \(str\), allowed: smoke or laptop or gpu or hub"),
        (("05", 1), r"field 'profile': got 1 \(int\)"),
        (("04", "hub"), r"field 'profile': got 'hub' \(str\), allowed: smoke or laptop or gpu; notebook 04 has no run on"),
        (("05", "hub", 0, {"width": 2}), "unknown field 'width': got 2"),
        (("05", "hub", 0, {"seed": 2}), "field 'overrides': .*seed is a parameter of its own"),
        (("05", None, "3"), r"field 'seed': got '3' \(str\), allowed: integer from 0 to 2147483647"),
        (("05", None, True), r"field 'seed': got True \(bool\)"),
        (("05", None, 2**31), "field 'seed': got 2147483648"),
        (("05", None, 0, "{steps: 3}"), r"field 'overrides': got '\{steps: 3\}' \(str\), allowed: a mapping"),
        (("05", None, 0, [1]), "field 'overrides': "),
        (("05", None, 0, {1: 2}), "field 'overrides': "),
        (("05", None, 0, {"seed": 2}), "field 'overrides': .*seed is a parameter of its own"),
        (("05", None, 0, {"stepz": 2}), "unknown field 'stepz': got 2"),
        (("05", None, 0, {"rate": "1e-3"}), r"field 'rate': got '1e-3' \(str\), allowed: finite number above 0 to 1"),
        (("05", None, 0, {"name": "toy", "self": 2}), "unknown field 'self'"),
        (("04", None, 0, {"steps": 2}), "field 'overrides': .*notebook 04 has no experiment"),
    ],
)
def test_bad_parameters_stop_in_one_line_before_anything_is_touched(arguments, message, capsys):
    state = random.getstate()
    with pytest.raises(lab.ParameterError, match=message) as error:
        lab.open(*arguments)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
    assert random.getstate() == state


def cells(monkeypatch, *sources):
    shell = types.SimpleNamespace(user_ns={"In": ["", *sources]})
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)


def test_a_parameter_that_papermill_injected_under_a_wrong_name_is_refused(monkeypatch):
    pytest.importorskip("IPython")
    cells(monkeypatch, '# Parameters\nprofile = "smoke"\nseed = 3\n', "other = 1", "# Parameters of the model\nx = 2")
    lab.open("04")
    cells(monkeypatch, '# Parameters\nprofile = "smoke"\nsed = 3\n')
    with pytest.raises(lab.ParameterError, match=r"^unknown parameter 'sed', allowed: profile, seed, overrides$"):
        lab.open("04")


def test_seeds_are_set_and_the_network_libraries_kept_offline():
    drawn = []
    for seed in (3, 3, 4):
        lab.open("04", "smoke", seed)
        drawn.append((random.random(), np.random.random()))  # noqa: NPY002
    assert drawn[0] == drawn[1] != drawn[2]
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["HF_DATASETS_OFFLINE"] == "1"


def test_the_hub_profile_leaves_the_network_alone():
    lab.open("05", "hub")
    assert "HF_HUB_OFFLINE" not in os.environ


def test_in_the_hub_profile_overrides_belong_to_the_run_on_real_models():
    opened = lab.open("05", "hub", 4, {"model": "mine"})
    assert opened.hub_experiment() == HubToy(seed=4, model="mine")
    assert opened.hub_experiment(model="other", steps=5) == HubToy(seed=4, model="other", steps=5)
    assert opened.experiment() == Toy(seed=4)
    elsewhere = lab.open("05", "smoke", 4, {"rate": 0.5})
    assert elsewhere.hub_experiment() == HubToy(seed=4)
    with pytest.raises(lab.ParameterError, match="notebook 04 has no run on real models"):
        lab.open("04").hub_experiment()


def test_a_change_that_defines_a_run_wins_over_the_users_overrides():
    opened = lab.open("05", "smoke", 1, {"rate": 0.5})
    assert opened.experiment(share=0.5, seed=4) == Toy(steps=3, rate=0.5, share=0.5, seed=4)
    assert opened.experiment(rate=0.1) == Toy(steps=3, rate=0.1, seed=1)
    with pytest.raises(lab.ParameterError, match="field 'share'"):
        opened.experiment(share=2)
    with pytest.raises(lab.ParameterError, match="notebook 04 has no main experiment"):
        lab.open("04").experiment()


def test_pick_falls_back_to_the_smaller_profile():
    assert lab.open("04", "smoke").pick(smoke=1, laptop=2) == 1
    assert lab.open("04", "laptop").pick(smoke=1, laptop=2, gpu=3) == 2
    assert lab.open("04", "gpu").pick(smoke=1, laptop=None) is None
    with pytest.raises(lab.ParameterError, match="a value for smoke"):
        lab.open("04", "smoke").pick(laptop=2)
    with pytest.raises(lab.ParameterError, match="'pick': got 'big'"):
        lab.open("04", "smoke").pick(big=2)


def test_claims_are_judged_and_listed_in_the_catalogues_order():
    opened = lab.open("05", "smoke")
    assert opened.claim("05.y", [0.5, 2.0]).verdict == "not reproduced"
    assert repr(opened.claim("05.y", 0.5)) == "05.y: reproduced: the number = 0.5, expected ≤ 1"
    table = opened.claims_table()
    assert [(v.id, v.verdict) for v in table.verdicts] == [("05.x", "not measured"), ("05.y", "reproduced")]
    with pytest.raises(lab.ParameterError, match=r"field 'claim': got '05\.z' .*allowed: 05\.x, 05\.y"):
        opened.claim("05.z", 1)
    assert "no claims" in repr(lab.open("04").claims_table())


def test_a_claim_whose_data_are_not_there_is_neither_right_nor_wrong_and_keeps_its_bounds():
    opened = lab.open("05", "smoke")
    found = opened.untestable("05.x", "needs the data set 'almrrc'")
    assert (found.verdict, found.note, found.fails) == ("not testable here", "needs the data set 'almrrc'", False)
    assert (found.expected, found.value, found.shown) == ("≤ 1", None, "")
    assert opened.claims_table().verdicts[0] is found
    assert opened.claim("05.x", 0.5).verdict == "reproduced"
    with pytest.raises(lab.ParameterError, match=r"'claim': got '05\.z'"):
        opened.untestable("05.z", "no such claim")


def test_exercises_tell_right_from_wrong_and_never_raise(capsys):
    opened = lab.open("05", "smoke")
    capsys.readouterr()
    results = {}
    for answer in (0.5, 0.6, None, ..., "half", np.array([0.5, 0.6])):
        results[str(answer)] = (opened.check("5.1", answer), capsys.readouterr().out.strip())
    assert results["0.5"] == (True, "5.1 Half of one: right")
    assert results["0.6"] == (False, "5.1 Half of one: not yet. Divide by two.")
    assert results["None"] == results["Ellipsis"] == (False, "5.1 Half of one: not answered yet (about 2 minutes)")
    assert "your answer is a str; something else is due (TypeError" in results["half"][1]
    assert not results["half"][0]
    assert "your answer is a ndarray" in results["[0.5 0.6]"][1]
    with pytest.raises(lab.ParameterError, match=r"field 'exercise': got '5\.9' \(str\), allowed: 5\.1"):
        opened.check("5.9", 1)
    assert "Half of one" in opened.exercises()._repr_html_()
    assert "Half of one" in repr(opened.exercises())


def test_an_exercise_has_a_difficulty_from_1_to_3():
    with pytest.raises(lab.ParameterError, match="field 'difficulty': got 4"):
        lab.Exercise("t", 4, 1, lambda a: None)
