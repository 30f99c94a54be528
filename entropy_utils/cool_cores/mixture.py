"""Is a distribution one hill or two? Normal mixtures of one and two components, compared by BIC (section 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from entropy_utils.lab.errors import ParameterError

STARTS = (0.25, 0.5, 0.75)  # quantiles at which the sample is first cut in two
SMALLEST = 1e-6  # variance, so that a component cannot shrink onto one value


@dataclass(frozen=True)
class Mixture:
    """Weights, means and standard deviations, by rising mean; log likelihood (nats) and BIC = k ln n - 2 ln L."""

    weights: np.ndarray
    means: np.ndarray
    sds: np.ndarray
    log_likelihood: float
    bic: float

    def density(self, x) -> np.ndarray:
        """Each component's density at x, along a last axis; the mixture is their sum."""
        away = (np.asarray(x, float)[..., None] - self.means) / self.sds
        return self.weights * np.exp(-(away**2) / 2) / (self.sds * np.sqrt(2 * np.pi))


def fit_mixture(x, components: int, tolerance: float = 1e-9, steps: int = 10_000) -> Mixture:
    """Maximum likelihood of a normal mixture of one or two components by expectation and maximisation.

    The two start from cuts of the sample at its quartiles; the best end wins. `tolerance` is the gain in log likelihood per
    value at which a run ends. Raises `ParameterError` for values that are not finite or fewer than ten.
    """
    x = np.asarray(x, float)
    if x.ndim != 1 or x.size < 10 or not np.isfinite(x).all():
        raise ParameterError.of("x", x.shape, "at least 10 finite numbers (logarithms of values above 0)")
    if components not in (1, 2):
        raise ParameterError.of("components", components, "1 or 2")
    if components == 1:
        starts = [np.ones((x.size, 1))]
    else:
        starts = [np.stack([x <= cut, x > cut], axis=1).astype(float) for cut in np.quantile(x, STARTS)]
    return max((_climb(x, share, tolerance, steps) for share in starts), key=lambda one: one.log_likelihood)


def compare(x) -> tuple[Mixture, Mixture, float]:
    """The fits with one and with two components, and BIC(two) - BIC(one): below 0 the second component is warranted."""
    one, two = fit_mixture(x, 1), fit_mixture(x, 2)
    return one, two, two.bic - one.bic


def _climb(x: np.ndarray, share: np.ndarray, tolerance: float, steps: int) -> Mixture:
    before = -np.inf
    for _ in range(steps):
        weight = share.sum(axis=0)
        means = x @ share / weight
        sds = np.sqrt(np.maximum(((x[:, None] - means) ** 2 * share).sum(axis=0) / weight, SMALLEST))
        order = np.argsort(means)
        mixture = Mixture((weight / x.size)[order], means[order], sds[order], before, np.nan)
        density = mixture.density(x)
        total = density.sum(axis=1)
        log_likelihood = float(np.log(total).sum())
        if log_likelihood - before < tolerance * x.size:
            break
        share, before = density / total[:, None], log_likelihood
    numbers = 3 * means.size - 1
    return Mixture(
        mixture.weights, mixture.means, mixture.sds, log_likelihood, numbers * np.log(x.size) - 2 * log_likelihood
    )
