"""Numbers published for SHRED (Hu et al. 2026, arXiv 2605.07482), for comparison; never mixed with ours.

The paper's text could not be read. Table 1 stands verbatim on the authors' project page, figures were read off there by
eye (to about 0.01), and the small grids come from their working dashboard, which they call an internal tool.
"""

from __future__ import annotations

TABLE_1: dict[str, tuple[float, float, float]] = {
    "Full": (0.990, 0.627, -99.5),
    "Target (retrained)": (0.148, 0.612, 0.0),
    "GradAscent": (0.181, 0.454, -93.6),
    "GradDiff+RT": (0.000, 0.625, 99.7),
    "NPO+RT": (0.294, 0.557, -91.1),
    "SimNPO+RT": (0.663, 0.613, -97.4),
    "DPO+RT": (0.162, 0.606, -19.2),
    "RMU+RT": (0.823, 0.608, -99.6),
    "CEU+RT": (0.002, 0.630, 97.3),
    "SHRED": (0.055, 0.637, -38.6),
}
"""Table 1, TOFU forget10, Llama-2-7B-chat: forget probability, model utility, PrivLeak."""

SHARES_1B: dict[int, tuple[float, float]] = {
    10: (0.601, 0.594), 25: (0.281, 0.593), 50: (0.079, 0.578), 75: (0.023, 0.537), 100: (0.007, 0.491),
}  # fmt: skip
"""Dashboard, TOFU forget10, Llama-3.2-1B, variant A, batch 40: forget probability and utility by share P in percent."""

REFERENCE_1B: dict[str, tuple[float, float]] = {"Full": (0.880, 0.599), "Target (retrained)": (0.116, 0.591)}
"""Dashboard: forget probability and utility of the two reference models of that grid."""

RATES_1B: dict[float, tuple[float, float]] = {
    5e-6: (0.282, 0.599), 1e-5: (0.143, 0.588), 2e-5: (0.095, 0.498), 5e-5: (0.070, 0.027), 1e-4: (0.067, 0.041),
}  # fmt: skip
"""Dashboard: forget probability and utility by learning rate, P = 50, batch 1."""

RELEARNING_1B: dict[str, tuple[float, float, float]] = {
    "SHRED": (0.116, 0.30, 0.27),
    "GradDiff": (0.01, 0.44, 0.42),
    "DPO": (0.28, 0.47, 0.46),
    "NPO": (0.135, 0.635, 0.61),
    "RMU": (0.01, 0.70, 0.68),
    "Target (retrained)": (0.116, 0.18, 0.17),
}
"""Read off the relearning figure, TOFU, 1B: forget probability after 0, 50 and 200 steps of the attack."""

SEQUENTIAL_1B: dict[str, tuple[tuple[float, float], ...]] = {
    "SHRED": ((0.04, 0.60), (0.07, 0.55), (0.07, 0.515)),
    "NPO": ((0.63, 0.60), (0.21, 0.45), (0.06, 0.43)),
    "RMU": ((0.27, 0.56), (0.02, 0.51), (0.00, 0.46)),
}
"""Read off the sequential figure, TOFU, 1B: forget probability and utility after forget01, forget05 and forget10."""

PRIV_LEAK = {"table 1, 7B": -38.6, "dashboard, 7B": 81.4, "dashboard, 1B": -38.58, "dashboard, 7B retrained": 22.6}
"""PrivLeak printed for SHRED on TOFU, in three places. The first two belong to the same two other numbers, .055 and .637;
the third belongs to a 1B model. The dashboard's take an AUC of 0.5 as reference: its retrained model is not at 0."""


def re_referenced(privleak: float, retrained: float) -> float:
    """PrivLeak against the retrained model, from two PrivLeaks against an AUC of 0.5 (all in percent)."""
    return 100 * (100 + privleak) / (100 + retrained) - 100


RWKU = {"table 1": {"forget": 27.7, "MMLU": 56.5}, "dashboard": {"neighbours before": 75.0, "neighbours after": 20.2}}
"""RWKU, Llama-3-8B-Instruct, variant B: what table 1 prints, and the neighbour scores it leaves out."""
