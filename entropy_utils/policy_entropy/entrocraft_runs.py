"""The runs of notebook 08: changes to `CoinFlipBandit` and `GRPO` by name, one budget and one set of seeds each."""

from __future__ import annotations

from typing import Any

from .schedule import Schedule

WIDTH = 0.1
"""Width of every band on the bandit, in nats."""

TARGETS: dict[str, tuple[str, str]] = {
    "linear, alg1": ("linear:1.2:0.6", "alg1"),
    "linear, code": ("linear:1.2:0.6", "code"),
    "constant, code": ("constant:1.3", "code"),
    "cosine, alg1": ("cosine:1.2:0.6", "alg1"),
    "free hand, alg1": ("points:1.2@0:0.8@0.25:0.95@0.5:0.6@1", "alg1"),
    "raised late, code": ("steps:1.2@0:0.8@0.25:1.2@0.5", "code"),
}
"""Target curve and variant of the runs that show what the controller can follow."""


def entrocraft(target: str, variant: str, width: float = WIDTH) -> dict[str, Any]:
    """An Entrocraft intervention as a dict."""
    return {"name": "entrocraft", "target": target, "width": width, "variant": variant}


def targets() -> dict[str, Schedule]:
    """The target curves of `TARGETS` by name."""
    return {name: Schedule.of(text) for name, (text, _) in TARGETS.items()}


def controlled() -> dict[str, dict[str, Any]]:
    """GRPO and every run of `TARGETS`."""
    return {"GRPO": {}} | {name: {"intervention": entrocraft(*curve)} for name, curve in TARGETS.items()}


TOO_HIGH: dict[str, dict[str, Any]] = {
    f"target 2.0, share of right coins {luck}": {"luck": luck, "intervention": entrocraft("constant:2.0", "code")}
    for luck in (0.5, 0.9)
}
"""A constant target above what the bandit can hold, with failures plenty and scarce."""

AIM = 1.0
CONTROLLERS: dict[str, dict[str, Any]] = {
    "Entrocraft alg1": {"intervention": entrocraft("constant:1.0", "alg1")},
    "Entrocraft code": {"intervention": entrocraft("constant:1.0", "code")},
    "EntroPIC": {"intervention": {"name": "entropic", "target": AIM}},
    "adaptive bonus": {"intervention": {"name": "adaptive_bonus", "target": AIM, "delta": 0.0005}},
    "bonus 0.003": {"intervention": {"name": "entropy_bonus", "coefficient": 0.003}},
    "Clip-Cov 1 %": {"intervention": {"name": "clip_cov", "share": 0.01}},
}
"""Six ways to keep an entropy of 1 nat; the last two know no target, their coefficients were tried out on these seeds."""

UNCLIPPED = {"clip_low": 1.0, "clip_high": 10.0}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "SGD, 1 update": ({"optimizer": "sgd", "lr": 100.0, "updates": 1}, {}),
    "SGD, 4 updates, no clip": ({"optimizer": "sgd", "lr": 100.0}, UNCLIPPED),
    "SGD, 4 updates, clip 0.2": ({"optimizer": "sgd", "lr": 100.0}, {}),
    "Adam, 1 update": ({"updates": 1}, {}),
    "Adam, 4 updates, no clip": ({}, UNCLIPPED),
    "Adam, 4 updates, clip 0.2": ({}, {}),
}
ONE_SIDED: dict[str, dict[str, Any]] = {
    "GRPO": {"name": "none"},
    "positives only": {"name": "signed_reward", "positive": 1.0, "negative": 0.0},
    "negatives only": {"name": "signed_reward", "positive": 0.0, "negative": 1.0},
}


def one_sided() -> dict[tuple[str, str], dict[str, Any]]:
    """Every optimiser of `SETTINGS` with every side of `ONE_SIDED`."""
    return {
        (setting, side): {**changes, "intervention": {**method, **clip}}
        for setting, (changes, clip) in SETTINGS.items()
        for side, method in ONE_SIDED.items()
    }


def language_model(start: float) -> tuple[dict[str, dict[str, Any]], dict[str, Schedule], float]:
    """Runs of `GRPO` by name, their targets, and the width of their bands, relative to the entropy at the start (nats)."""
    line = Schedule(kind="linear", values=(start, 0.3 * start))
    level, width = Schedule(values=(0.95 * start,)), 0.1 * start
    curves = {"linear, alg1": line, "linear, code": line, "constant, code": level}
    runs = {name: {"intervention": entrocraft(str(curve), name[-4:], width)} for name, curve in curves.items()}
    return {"GRPO": {}} | runs, curves, width
