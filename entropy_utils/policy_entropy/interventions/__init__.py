"""Entropy interventions, one file per method, one interface: `prepare` over a rollout, `token_loss` over `Tokens`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from .adaptive_bonus import AdaptiveBonus
from .base import Intervention, Prepared, Sampled, Tokens, clipped_loss
from .clip_b import ClipB, ClipBRandom
from .clip_cov import ClipCov
from .clip_higher import ClipHigher
from .clip_v import ClipV
from .entrocraft import Entrocraft
from .entropic import EntroPIC
from .entropy_bonus import EntropyBonus
from .kl_cov import KLCov
from .none import NoIntervention
from .quadrants import Quadrants
from .random_mask import RandomMask
from .reference_kl import ReferenceKL
from .signed_reward import SignedReward
from .steer import Steer
from .top_entropy import TopEntropy

INTERVENTIONS: dict[str, type[Intervention]] = {
    method.name: method
    for method in (
        NoIntervention,
        EntropyBonus,
        AdaptiveBonus,
        ReferenceKL,
        ClipHigher,
        TopEntropy,
        ClipCov,
        KLCov,
        RandomMask,
        ClipB,
        ClipBRandom,
        ClipV,
        Quadrants,
        SignedReward,
        EntroPIC,
        Entrocraft,
        Steer,
    )
}


def intervention(spec: Intervention | str | dict[str, Any]) -> Intervention:
    """An intervention from itself, from text, "kl_cov" or "kl_cov share=0.2", or from {"name": "kl_cov", "share": 0.2}."""
    if isinstance(spec, Intervention):
        return spec
    settings = _parse(spec) if isinstance(spec, str) else dict(spec) if isinstance(spec, dict) else {}
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in INTERVENTIONS:
        raise ValueError(f"intervention {name!r}, allowed: {', '.join(INTERVENTIONS)}")
    return INTERVENTIONS[name](**settings)


def _parse(text: str) -> dict[str, Any]:
    """ "kl_cov share=0.2" as a dict; a value that is no number stays text, for the field to refuse."""
    name, *pairs = text.split() or [""]
    settings: dict[str, Any] = {"name": name}
    for key, _, value in (pair.partition("=") for pair in pairs):
        try:
            settings[key] = float(value)
        except ValueError:
            settings[key] = value
    return settings


def _settings(method: Intervention) -> dict[str, Any]:
    return {"name": method.name, **method.model_dump()}


AnyIntervention = Annotated[
    Intervention,
    BeforeValidator(intervention),
    PlainSerializer(_settings),
    WithJsonSchema({"type": "string", "enum": list(INTERVENTIONS)}),
]
"""The type of a pydantic field that takes an intervention, its name or a dict, and is saved as a dict."""

__all__ = [
    "INTERVENTIONS",
    "AdaptiveBonus",
    "AnyIntervention",
    "ClipB",
    "ClipBRandom",
    "ClipCov",
    "ClipHigher",
    "ClipV",
    "EntroPIC",
    "Entrocraft",
    "EntropyBonus",
    "Intervention",
    "KLCov",
    "NoIntervention",
    "Prepared",
    "Quadrants",
    "RandomMask",
    "ReferenceKL",
    "Sampled",
    "SignedReward",
    "Steer",
    "Tokens",
    "TopEntropy",
    "clipped_loss",
    "intervention",
]
