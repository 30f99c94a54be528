"""A small experiment with every kind of field, for the tests of the lab."""

import time
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from entropy_utils.lab import Exercise, Experiment


class Toy(Experiment):
    profiles: ClassVar = {"smoke": {"steps": 3}, "laptop": {}, "gpu": {"width": 512}}

    steps: int = Field(10, ge=1, le=5000, description="number of records")
    rate: float = Field(1e-3, gt=0, le=1, description="pace", json_schema_extra={"unit": "1/step", "scale": "log"})
    share: float = Field(0.25, ge=0, lt=1, description="share of the tokens")
    width: int = Field(64, ge=1, le=10**6, json_schema_extra={"scale": "log"})
    kind: Literal["plain", "odd"] = "plain"
    fast: bool = True
    sizes: tuple[int, ...] = (32, 64)
    target: float | None = None
    name: str = Field("toy", pattern="^[a-z]+$")
    pause_s: float = Field(0.0, ge=0)
    fail_at: int = Field(-1, ge=-1)

    @model_validator(mode="after")
    def _steps_suffice(self):
        if self.fail_at > self.steps:
            raise ValueError(f"fail_at {self.fail_at} lies after the last step {self.steps}")
        return self

    def run(self):
        for step in range(self.steps):
            if step == self.fail_at:
                raise RuntimeError(f"no <step> {step}")
            time.sleep(self.pause_s)
            yield {"step": step, "value": self.rate * step / 3}

    def length(self):
        return self.steps


class HubToy(Experiment):
    profiles: ClassVar = {"hub": {}}

    model: str = "named"
    steps: int = Field(10, ge=1, le=5000)

    def run(self):
        yield {"step": 0, "value": 0.0}


EXERCISES = {
    "5.1": Exercise("Half of one", 1, 2, lambda answer: None if abs(answer - 0.5) < 1e-9 else "Divide by two."),
}
