"""GradDiff (Liu et al. 2022): gradient ascent on what is to go, descent on what is to stay."""

from typing import ClassVar

from pydantic import Field

from .gradient_ascent import GradientAscent


class GradDiff(GradientAscent):
    """Gradient ascent plus `retain_weight` times the mean NLL of a retain batch."""

    name: ClassVar[str] = "grad_diff"

    retain_weight: float = Field(1.0, gt=0, le=1e3, description="weight of the loss on the retain set")
