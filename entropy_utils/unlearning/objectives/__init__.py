"""Unlearning objectives, one file per method, one interface: `prepare` with the frozen model, `loss` with the live one."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from .base import Objective, Output, Retained
from .ceu import CEU
from .grad_diff import GradDiff
from .gradient_ascent import GradientAscent
from .npo import NPO
from .rmu import RMU
from .shred import Shred
from .simnpo import SimNPO
from .undial import Undial

OBJECTIVES: dict[str, type[Objective]] = {
    method.name: method for method in (Shred, GradientAscent, GradDiff, NPO, SimNPO, Undial, CEU, RMU)
}


def objective(spec: Objective | str | dict[str, Any]) -> Objective:
    """An objective from itself, from text, "shred" or "shred share=0.5 top=64", or from {"name": "shred", "share": 0.5}."""
    if isinstance(spec, Objective):
        return spec
    settings = _parse(spec) if isinstance(spec, str) else dict(spec) if isinstance(spec, dict) else {}
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise ValueError(f"objective {name!r}, allowed: {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name](**settings)


def _parse(text: str) -> dict[str, Any]:
    """ "shred share=0.5" as a dict; values stay text where they are neither number, true nor false."""
    name, *pairs = text.split() or [""]
    settings: dict[str, Any] = {"name": name}
    for key, _, value in (pair.partition("=") for pair in pairs):
        settings[key] = _value(value)
    return settings


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _settings(method: Objective) -> dict[str, Any]:
    return {"name": method.name, **method.model_dump()}


AnyObjective = Annotated[
    Objective,
    BeforeValidator(objective),
    PlainSerializer(_settings),
    WithJsonSchema({"type": "string", "enum": list(OBJECTIVES)}),
]
"""The type of a pydantic field that takes an objective, its text or a dict, and is saved as a dict."""

__all__ = [
    "CEU",
    "NPO",
    "OBJECTIVES",
    "RMU",
    "AnyObjective",
    "GradDiff",
    "GradientAscent",
    "Objective",
    "Output",
    "Retained",
    "Shred",
    "SimNPO",
    "Undial",
    "objective",
]
