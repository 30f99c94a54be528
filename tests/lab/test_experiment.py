"""Experiments refuse bad parameters in one line; collect and History keep what a run yields, bit by bit."""

import json
import math
import struct
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from entropy_utils.lab import BrokenFile, Experiment, History, ParameterError, collect
from entropy_utils.lab.errors import LabError
from tests.lab.toy import Toy

BAD = {
    "string for an int": ({"steps": "7x"}, "field 'steps': got '7x' (str), allowed: integer from 1 to 5000"),
    "string like a float": ({"rate": "1e-3"}, "field 'rate': got '1e-3' (str), allowed: finite number above 0 to 1"),
    "string like a bool": ({"fast": "true"}, "field 'fast': got 'true' (str), allowed: True or False"),
    "number for a bool": ({"fast": 1}, "field 'fast': got 1 (int), allowed: True or False"),
    "bool for an int": ({"steps": True}, "field 'steps': got True (bool), allowed: integer from 1 to 5000"),
    "bool for a float": ({"share": True}, "field 'share': got True (bool), allowed: finite number from 0 below 1"),
    "float for an int": ({"steps": 3.0}, "field 'steps': got 3.0 (float), allowed: integer from 1 to 5000"),
    "below": ({"steps": 0}, "field 'steps': got 0 (int), allowed: integer from 1 to 5000"),
    "at an open bound": ({"rate": 0.0}, "field 'rate': got 0.0 (float), allowed: finite number above 0 to 1"),
    "nan": ({"share": math.nan}, "field 'share': got nan (float), allowed: finite number from 0 below 1"),
    "inf": ({"target": math.inf}, "field 'target': got inf (float), allowed: finite number or None"),
    "choice": ({"kind": "even"}, "field 'kind': got 'even' (str), allowed: 'plain' or 'odd'"),
    "item": ({"sizes": [1, "a"]}, "field 'sizes[1]': got 'a' (str), allowed: list of integer"),
    "seed": ({"seed": -1}, "field 'seed': got -1 (int), allowed: integer from 0 to 2147483647"),
    "pattern": ({"name": "Toy 2"}, "field 'name': got 'Toy 2' (str), allowed: text matching ^[a-z]+$"),
    "across fields": ({"steps": 2, "fail_at": 3}, "Toy: fail_at 3 lies after the last step 2"),
}


@pytest.mark.parametrize(("values", "line"), BAD.values(), ids=BAD)
def test_a_bad_value_is_one_line_naming_field_value_and_allowed(values, line):
    for make in (Toy, lambda **v: Toy.profile("smoke", **v), lambda **v: Toy().replace(**v)):
        with pytest.raises(ParameterError) as error:
            make(**values)
        assert str(error.value) == line


def test_an_unknown_field_lists_the_known_and_several_faults_stand_on_one_line():
    with pytest.raises(ParameterError, match=r"unknown field 'stepz': got 3 \(int\), allowed: .* of Toy: seed, steps"):
        Toy(stepz=3)
    with pytest.raises(ParameterError, match=r"field 'steps': .*; field 'rate': ") as error:
        Toy(steps=0, rate=2)
    assert "\n" not in str(error.value)


def test_an_unknown_profile_names_those_there_are():
    with pytest.raises(ParameterError, match=r"^field 'profile': got 'laptob' \(str\), allowed: smoke or laptop"):
        Toy.profile("laptob")
    with pytest.raises(ParameterError, match="allowed: smoke or laptop or gpu"):
        Toy.profile(["smoke"])


def test_in_ipython_the_line_is_all_that_is_shown():
    with pytest.raises(ParameterError) as error:
        Toy(steps=0)
    assert error.value._render_traceback_() == [f"ParameterError: {error.value}"]


def test_profiles_are_changes_of_the_defaults_and_overrides_win():
    assert Toy.profile() == Toy()
    assert Toy.profile("smoke").steps == 3
    assert Toy.profile("smoke", steps=4, seed=9) == Toy(steps=4, seed=9)


def test_json_and_numpy_values_are_taken_for_what_they_are():
    toy = Toy(rate=1, sizes=[1, 2], steps=np.int64(5), share=np.float32(0.5))
    assert (toy.rate, toy.sizes, toy.steps, toy.share) == (1.0, (1, 2), 5, 0.5)
    assert type(toy.steps) is int
    with pytest.raises(ParameterError, match=r"field 'steps': got 5.0 \(float\)"):
        Toy(steps=np.float64(5))


class Odd(Experiment):
    """Yields every kind of value, and floats that only an exact format keeps."""

    floats: ClassVar = [0.1, 1 / 3, 5e-324, -0.0, 1.7976931348623157e308, math.pi * 1e-300, math.inf, math.nan]

    def run(self):
        for step, value in enumerate(self.floats):
            yield {
                "step": step,
                "float": np.float64(value),
                "single": np.float32(0.1),
                "text": 'a,"b"\nß' if step % 2 else None,
                "flag": bool(step % 2),
                "maybe": None if step % 3 else True,
                "big": 2**62 + step,
                "sometimes": value if step == 1 else None,
            }


def test_a_history_comes_back_from_its_file_bit_by_bit(tmp_path):
    history = collect(Odd(seed=3), progress=False)
    back = History.load(history.save(tmp_path / "deep" / "run.json"))
    pd.testing.assert_frame_equal(back.records, history.records, check_exact=True)
    bits = [[struct.pack("<d", v) for v in h.records["float"]] for h in (history, back)]
    assert bits[0] == bits[1] == [struct.pack("<d", v) for v in Odd.floats]
    assert [type(v) for v in back.records["maybe"]] == [type(v) for v in history.records["maybe"]]
    assert back.records["single"][0] == float(np.float32(0.1))
    assert back.experiment == Odd(seed=3)
    for name in ("wall_s", "peak_memory_bytes", "versions", "completed"):
        assert getattr(back, name) == getattr(history, name)
    assert history.peak_memory_bytes > 2**20
    assert history.versions["numpy"] == np.__version__
    assert not list((tmp_path / "deep").glob("*.part"))


def test_an_empty_history_comes_back(tmp_path):
    history = History.of(Toy(), [], 0.1)
    assert len(History.load(history.save(tmp_path / "run.json")).records) == 0


def test_a_history_that_is_cut_missing_or_of_another_kind_is_named(tmp_path):
    path = collect(Toy(steps=2), progress=False).save(tmp_path / "run.json")
    text = path.read_text()
    kinds = [text.replace("tests.lab.toy:Toy", kind) for kind in ("tests.lab.toy:Gone", "pathlib:Path", "gone:Toy", "")]
    for content in (text[: len(text) // 2], "", "{}", *kinds, text.replace('"steps": 2', '"steps": 0')):
        path.write_text(content)
        with pytest.raises(BrokenFile, match=r"^history file '.*run\.json': truncated or not a history"):
            History.load(path)
    with pytest.raises(BrokenFile, match=r"gone\.json': missing"):
        History.load(tmp_path / "gone.json")
    column = json.loads(text)
    column["columns"]["step"]["values"].pop()
    path.write_text(json.dumps(column))
    with pytest.raises(BrokenFile):
        History.load(path)


def test_an_interrupt_returns_what_is_there_and_lets_the_run_clean_up(tmp_path):
    closed = []

    class Endless(Experiment):
        def run(self):
            try:
                for step in range(10**9):
                    if step == 4:
                        raise KeyboardInterrupt
                    yield {"step": step}
            finally:
                closed.append(True)

    history = collect(Endless(), progress=False)
    assert list(history.records["step"]) == [0, 1, 2, 3]
    assert not history.completed
    assert closed == [True]
    assert "stopped early" in repr(history)


def test_an_error_of_the_lab_carries_what_was_there():
    class Breaks(Experiment):
        def run(self):
            yield from ({"step": step} for step in range(3))
            raise LabError("step 3: no more")

    with pytest.raises(LabError, match="no more") as found:
        collect(Breaks(seed=5), progress=False)
    history = found.value.history
    assert history.records["step"].tolist() == [0, 1, 2]
    assert not history.completed
    assert history.experiment.seed == 5


def test_a_record_that_is_not_flat_is_refused():
    class Nested(Experiment):
        def run(self):
            yield {"curve": [1, 2]}

    with pytest.raises(TypeError, match="record field 'curve': got a list"):
        collect(Nested(), progress=False)


def test_an_error_in_a_run_is_not_swallowed():
    with pytest.raises(RuntimeError, match="no <step> 2"):
        collect(Toy(fail_at=2), progress=False)


def test_an_experiment_without_run_cannot_be_made():
    class Unfinished(Experiment):
        steps: int = 1

    with pytest.raises(TypeError, match="run"):
        Unfinished()
