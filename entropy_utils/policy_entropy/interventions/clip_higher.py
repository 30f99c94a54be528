"""Clip-higher (DAPO, Yu et al. 2025): a wider upper bound lets rare tokens grow."""

from __future__ import annotations

from pydantic import Field

from .none import NoIntervention


class ClipHigher(NoIntervention):
    """The clipped loss with an upper range of 0.28 instead of 0.2."""

    name = "clip_higher"
    clip_high: float = Field(0.28, gt=0, le=10, description="how far the ratio may rise above 1")
