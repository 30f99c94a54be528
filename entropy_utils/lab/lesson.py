"""`open` a notebook: check its parameters, set seeds, threads and style, hand out the `Lesson` that it works with."""

from __future__ import annotations

import ast
import html
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from entropy_utils.lab.catalogue import PROFILES, Notebook, collection, load_object
from entropy_utils.lab.claims import ClaimsTable, Verdict, judge
from entropy_utils.lab.errors import ParameterError, brief
from entropy_utils.lab.experiment import Experiment
from entropy_utils.lab.figures import use_style

PARAMETERS = ("profile", "seed", "overrides")


@dataclass(frozen=True)
class Exercise:
    """An exercise of a notebook; `check` returns None for a right answer, else a hint that does not give it away."""

    title: str
    difficulty: int  # 1 to 3
    minutes: float
    check: Callable[[Any], str | None]

    def __post_init__(self):
        if self.difficulty not in (1, 2, 3):
            raise ParameterError.of("difficulty", self.difficulty, "1, 2 or 3")


def open(notebook: str, profile: str | None = None, seed: int = 0, overrides: dict | None = None) -> Lesson:
    """Open a notebook of the collection at a profile; the first code cell after the parameters calls this.

    `profile` None means ``$ENTROPY_PROFILE``, else ``laptop``; `overrides` change fields of the notebook's main
    experiment, in profile ``hub`` of its run on real models. Anything unknown, of the wrong type or out of bounds, also a
    parameter that papermill injected under a wrong name, is a one-line `ParameterError`. Seeds the global generators,
    sets torch to one thread, applies the figure style, keeps the Hugging Face libraries off the network (except in
    profile ``hub``), prints one line.
    """
    entry = collection().notebook(notebook)
    _refuse_unknown_parameters()
    profile = os.environ.get("ENTROPY_PROFILE") or "laptop" if profile is None else profile
    if profile not in PROFILES:
        raise ParameterError.of("profile", profile, " or ".join(PROFILES))
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise ParameterError.of("seed", seed, f"integer from 0 to {2**31 - 1}")
    overrides = {} if overrides is None else overrides
    if not isinstance(overrides, dict) or not all(isinstance(name, str) for name in overrides):
        raise ParameterError.of("overrides", overrides, "a mapping, as in papermill -y 'overrides: {steps: 10}'")
    if profile != "hub":
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    lesson = Lesson(entry, profile, seed, dict(overrides))
    device = _seed_and_threads(seed, profile)
    use_style()
    changed = [f"{name}={brief(value)}" for name, value in overrides.items()]
    print(" | ".join([f"{entry.id} {entry.title}", profile, f"seed {seed}", *changed, device]))
    return lesson


class Lesson:
    """One opened notebook: its profile and seed, its main experiment, the claims it measures, its exercises."""

    def __init__(self, notebook: Notebook, profile: str, seed: int, overrides: dict):
        self.notebook, self.profile, self.seed, self.overrides = notebook, profile, seed, overrides
        self._verdicts: dict[str, Verdict] = {}
        self._experiment: type[Experiment] | None = load_object(notebook.experiment) if notebook.experiment else None
        self._exercises: dict[str, Exercise] = load_object(notebook.exercises) if notebook.exercises else {}
        if "seed" in overrides:
            raise ParameterError.of("overrides", overrides, "fields other than seed; seed is a parameter of its own")
        if profile == "hub":
            self.hub_experiment()
        elif self._experiment:
            self.experiment()
        elif overrides:
            raise ParameterError.of("overrides", overrides, f"none: notebook {notebook.id} has no experiment")

    def __repr__(self):
        return f"Lesson {self.notebook.id} ({self.notebook.title}), profile {self.profile}, seed {self.seed}"

    @property
    def smoke(self) -> bool:
        """Whether this is the quick look of CI."""
        return self.profile == "smoke"

    def experiment(self, **changes) -> Experiment:
        """The main experiment at this profile and seed, with the user's overrides, and with changes, which win over all.

        In profile ``hub`` the overrides belong to `hub_experiment`; an experiment without that profile is as in ``laptop``.
        """
        if self._experiment is None:
            raise ParameterError(f"notebook {self.notebook.id} has no main experiment in the catalogue")
        profile, overrides = self.profile, self.overrides
        if profile == "hub":
            profile, overrides = ("hub" if "hub" in self._experiment.profiles else "laptop"), {}
        return self._experiment.profile(profile, **{"seed": self.seed, **overrides, **changes})

    def hub_experiment(self, **changes) -> Experiment:
        """The run on real models at this seed, in profile ``hub`` with the user's overrides; changes win over all."""
        if self.notebook.hub is None:
            allowed = f"smoke or laptop or gpu; notebook {self.notebook.id} has no run on real models"
            raise ParameterError.of("profile", "hub", allowed)
        overrides = self.overrides if self.profile == "hub" else {}
        return load_object(self.notebook.hub).profile("hub", **{"seed": self.seed, **overrides, **changes})

    def pick(self, **choices) -> Any:
        """The value for this profile from ``smoke=, laptop=, gpu=, hub=``; one left out is the next smaller."""
        for name in choices:
            if name not in PROFILES:
                raise ParameterError.of("pick", name, " or ".join(PROFILES))
        order = PROFILES[: PROFILES.index(self.profile) + 1][::-1]
        given = [choices[name] for name in order if name in choices]
        if not given:
            raise ParameterError.of("pick", choices, f"a value for {self.profile}")
        return given[0]

    def claim(self, id: str, value: Any, sd: float | None = None, seeds: int | None = None) -> Verdict:
        """Record what was measured for a claim: a number, or one number per seed; the catalogue judges it."""
        self._verdicts[id] = judge(self.notebook.claim(id), self.profile, value, sd, seeds)
        return self._verdicts[id]

    def untestable(self, id: str, why: str) -> Verdict:
        """Record that this run cannot test a claim, say for want of data that is not there: neither right nor wrong."""
        verdict = judge(self.notebook.claim(id), self.profile)
        self._verdicts[id] = replace(verdict, verdict="not testable here", note=verdict.note or why, fails=False)
        return self._verdicts[id]

    def claims_table(self) -> ClaimsTable:
        """The verdicts on all claims of the notebook, those not measured included."""
        verdicts = [self._verdicts.get(claim.id) or judge(claim, self.profile) for claim in self.notebook.claims]
        return ClaimsTable(self.notebook.id, self.profile, self.seed, tuple(verdicts))

    def check(self, id: str, answer: Any = None) -> bool:
        """Print whether an answer to an exercise is right, with a hint if not; returns whether it is."""
        if id not in self._exercises:
            raise ParameterError.of("exercise", id, ", ".join(self._exercises) or "none in this notebook")
        exercise = self._exercises[id]
        if answer is None or answer is ...:
            print(f"{id} {exercise.title}: not answered yet (about {exercise.minutes:g} minutes)")
            return False
        try:
            hint = exercise.check(answer)
        except Exception as error:
            hint = f"your answer is a {type(answer).__name__}; something else is due ({type(error).__name__}: {error})"
        print(f"{id} {exercise.title}: " + ("right" if hint is None else f"not yet. {hint}"))
        return hint is None

    def exercises(self) -> _ExercisesTable:
        """The exercises with difficulty and minutes, as a table."""
        return _ExercisesTable(self._exercises)


@dataclass(frozen=True)
class _ExercisesTable:
    exercises: dict[str, Exercise]

    def _lines(self) -> list[tuple[str, str, str, str]]:
        return [(id, e.title, "●" * e.difficulty, f"{e.minutes:g} min") for id, e in self.exercises.items()]

    def __repr__(self):
        return "\n".join("  ".join(line) for line in self._lines()) or "no exercises"

    def _repr_html_(self) -> str:
        rows = [("th", ("Exercise", "Task", "Difficulty", "Time")), *(("td", line) for line in self._lines())]
        cells = ("".join(f'<{tag} align="left">{html.escape(cell)}</{tag}>' for cell in row) for tag, row in rows)
        return "<table>\n" + "".join(f"<tr>{row}</tr>\n" for row in cells) + "</table>"


def _refuse_unknown_parameters() -> None:
    """ParameterError for a name that papermill injected and no notebook of the collection knows.

    Papermill puts what it was given into a cell of its own that starts with ``# Parameters`` and only warns about
    unknown names, so a mistyped ``-p sed 3`` would silently run seed 0.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    cells = shell.user_ns.get("In", []) if shell else []
    for cell in cells:
        if not cell.startswith("# Parameters\n"):
            continue
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in PARAMETERS:
                raise ParameterError(f"unknown parameter '{node.id}', allowed: {', '.join(PARAMETERS)}")


def _seed_and_threads(seed: int, profile: str) -> str:
    """Seed the global generators; with torch loaded also its own, and one thread. Returns the environment in words."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the global generator, for what readers write into cells)
    torch = sys.modules.get("torch")
    if torch is None:
        return f"numpy {np.__version__} | cpu"
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    gpu = profile in ("gpu", "hub") and torch.cuda.is_available()
    return f"torch {torch.__version__.split('+')[0]} | {torch.cuda.get_device_name() if gpu else 'cpu x1 thread'}"
