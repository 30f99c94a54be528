"""The law R = -a e^H + b between accuracy and policy entropy, and its rivals (Cui et al. 2025, eq. 6).

The paper does not say how it fits; the law is linear in (e^H, 1), so ordinary least squares it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FORMS = {
    "exponential": lambda entropy: [-np.exp(entropy), np.ones_like(entropy)],
    "linear": lambda entropy: [-entropy, np.ones_like(entropy)],
    "quadratic": lambda entropy: [-(entropy**2), np.ones_like(entropy)],
}
"""Basis functions of every form that is fitted: R = a * first + b * second."""


@dataclass(frozen=True)
class LawFit:
    """A fitted curve: coefficients a and b (units of the accuracy), root-mean-square residual and R^2."""

    form: str
    a: float
    b: float
    rmse: float
    r_squared: float

    @property
    def ceiling(self) -> float:
        """Accuracy at zero entropy: b - a for the exponential form, b for the others."""
        return float(self(np.zeros(1))[0])

    def __call__(self, entropy: np.ndarray) -> np.ndarray:
        """Fitted accuracy at the given entropies (nats)."""
        first, second = FORMS[self.form](np.asarray(entropy, float))
        return self.a * first + self.b * second


def fit_law(entropy: np.ndarray, accuracy: np.ndarray, form: str = "exponential") -> LawFit:
    """Least-squares fit of one of `FORMS` to entropies (nats) and accuracies of equal length, at least 3 points."""
    entropy, accuracy = np.asarray(entropy, float), np.asarray(accuracy, float)
    if entropy.shape != accuracy.shape or entropy.ndim != 1 or len(entropy) < 3:
        raise ValueError(f"entropy {entropy.shape} and accuracy {accuracy.shape}: allowed are two series of 3 or more")
    if not (np.isfinite(entropy).all() and np.isfinite(accuracy).all()):
        raise ValueError("entropy and accuracy: NaN or infinite values, allowed: finite numbers")
    basis = np.stack(FORMS[form](entropy), -1)
    (a, b), *_ = np.linalg.lstsq(basis, accuracy, rcond=None)
    residual = accuracy - basis @ [a, b]
    spread = ((accuracy - accuracy.mean()) ** 2).sum()
    r_squared = 1 - (residual**2).sum() / spread if spread > 0 else float("nan")
    return LawFit(form, float(a), float(b), float(np.sqrt((residual**2).mean())), float(r_squared))


def predict_end(entropy: np.ndarray, accuracy: np.ndarray, share: float = 0.15, tail: int = 5) -> tuple[float, float]:
    """Fit the law on the first `share` of a run and evaluate it at the run's final entropy.

    Returns (predicted, measured) accuracy at the end, each from the mean of the last `tail` points.
    """
    entropy, accuracy = np.asarray(entropy, float), np.asarray(accuracy, float)
    early = max(3, round(share * len(entropy)))
    law = fit_law(entropy[:early], accuracy[:early])
    return float(law(entropy[-tail:]).mean()), float(accuracy[-tail:].mean())
