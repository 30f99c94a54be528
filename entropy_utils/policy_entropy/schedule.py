"""Target curves: which entropy a controller should hold at which point of training (Li et al. 2026, sec. 4).

A curve is a function of the share t of the training that is done, t = step / steps in [0, 1):

    constant:0.5                    0.5 throughout
    linear:1.2:0.6                  h0 + (h1 - h0) t
    cosine:1.2:0.6                  h0 + (h1 - h0) (1 - cos(pi t)) / 2
    steps:1.2@0:0.8@0.5             1.2 from the start, 0.8 from half of the training on
    points:1.2@0:0.5@0.3:0.6@1      straight lines between free-hand points, which must reach from 0 to 1
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from entropy_utils.lab.errors import ParameterError
from entropy_utils.lab.experiment import Parameters

ENDS = {"constant": 1, "linear": 2, "cosine": 2}  # kinds that need no places, and how many values they take
FORMS = "a number, constant:H, linear:H0:H1, cosine:H0:H1, steps:H0@0:H1@t1:..., points:H0@0:...:Hn@1"


class Schedule(Parameters):
    """A target entropy in nats against the share of training done; `ParameterError` for a curve with gaps."""

    kind: Literal["constant", "linear", "cosine", "steps", "points"] = Field("constant", description="shape of the curve")
    values: tuple[float, ...] = Field((0.5,), min_length=1, description="targets", json_schema_extra={"unit": "nats"})
    places: tuple[float, ...] = Field((), description="share of training at which each value stands (steps, points)")

    @model_validator(mode="after")
    def _covers_the_training(self) -> Self:
        if self.kind in ENDS:
            if len(self.values) != ENDS[self.kind] or self.places:
                raise ValueError(f"{self.kind} takes {ENDS[self.kind]} value(s) and no places")
            return self
        if len(self.places) != len(self.values):
            raise ValueError(f"{len(self.values)} values and {len(self.places)} places: allowed is one place per value")
        if any(later <= earlier for earlier, later in zip(self.places, self.places[1:], strict=False)):
            raise ValueError(f"places {self.places}: allowed are rising numbers")
        if self.places[0] != 0 or (self.kind == "points" and self.places[-1] != 1):
            raise ValueError(f"places {self.places} leave a part of the training without a target: allowed are places "
                             + ("from 0 to 1" if self.kind == "points" else "from 0 on"))  # fmt: skip
        if self.places[-1] > 1:
            raise ValueError(f"places {self.places}: allowed are shares of the training, 0 to 1")
        return self

    @classmethod
    def of(cls, spec: Schedule | str | float | dict[str, Any]) -> Schedule:
        """A schedule from itself, a number (constant), text as in this module's head, or a dict of fields."""
        if isinstance(spec, Schedule):
            return spec
        if isinstance(spec, dict):
            return cls(**spec)
        if isinstance(spec, (int, float)) and not isinstance(spec, bool):
            return cls(values=(float(spec),))
        try:
            kind, *parts = spec.split(":") if ":" in spec else ("constant", spec)
            pairs = [tuple(map(float, part.split("@"))) for part in parts]
            values = tuple(pair[0] for pair in pairs)
            places = tuple(place for _, place in pairs) if any(len(pair) > 1 for pair in pairs) else ()
        except (AttributeError, ValueError, TypeError):
            raise ValueError(f"a schedule is {FORMS}") from None
        return cls(kind=kind, values=values, places=places)

    def __str__(self) -> str:
        pairs = zip(self.values, self.places, strict=True) if self.places else [(value,) for value in self.values]
        return ":".join([self.kind, *("@".join(f"{number:.12g}" for number in pair) for pair in pairs)])

    def at(self, share: float | np.ndarray) -> np.ndarray:
        """The target in nats at a share of the training, any shape."""
        share, values = np.asarray(share, float), np.array(self.values)
        if self.kind == "steps":
            return values[np.searchsorted(self.places, share, side="right") - 1]
        if self.kind == "cosine":
            share = (1 - np.cos(np.pi * share)) / 2
        return np.interp(share, self.places or np.linspace(0, 1, max(2, len(values)))[: len(values)], values)

    def value(self, step: int, steps: int) -> float:
        """The target of rollout `step` (from 0) out of `steps`, in nats."""
        if not 0 <= step < steps:
            raise ParameterError.of("step", step, f"an integer from 0 to {steps - 1}")
        return float(self.at(step / steps))

    def curve(self, steps: int) -> np.ndarray:
        """The targets of all rollouts, (steps,), in nats."""
        return self.at(np.arange(steps) / steps)

    def check(self, vocabulary: int, steps: int) -> None:
        """`ParameterError` if a target is no entropy over `vocabulary` outcomes, or there is no step to hold it at."""
        if steps < 1:
            raise ParameterError.of("steps", steps, "integer from 1")
        largest = math.log(vocabulary)
        if not all(0 <= value <= largest for value in self.values):
            allowed = f"targets from 0 to ln {vocabulary} = {largest:.4g} nats"
            raise ParameterError.of("target", str(self), allowed)


Target = Annotated[
    Schedule,
    BeforeValidator(Schedule.of),
    PlainSerializer(str),
    WithJsonSchema({"type": "string"}),
]
"""The type of a pydantic field that takes a schedule in any of its forms and is saved as text."""
