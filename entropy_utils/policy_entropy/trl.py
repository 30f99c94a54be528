"""Front door, to be completed."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "EntropyGRPOTrainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .trl_trainer import EntropyGRPOTrainer

    return EntropyGRPOTrainer
