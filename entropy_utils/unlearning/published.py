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

PRIV_LEAK = {"table 1, 7B": -38.6, "dashboard, 7B": 81.4, "dashboard, 1B": -38.58, "dashboard, 7B retrained": 22.6}
"""PrivLeak printed for SHRED on TOFU, in three places. The first two belong to the same two other numbers, .055 and .637;
the third belongs to a 1B model. The dashboard's take an AUC of 0.5 as reference: its retrained model is not at 0."""


def re_referenced(privleak: float, retrained: float) -> float:
    """PrivLeak against the retrained model, from two PrivLeaks against an AUC of 0.5 (all in percent)."""
    return 100 * (100 + privleak) / (100 + retrained) - 100


RWKU = {"table 1": {"forget": 27.7, "MMLU": 56.5}, "dashboard": {"neighbours before": 75.0, "neighbours after": 20.2}}
"""RWKU, Llama-3-8B-Instruct, variant B: what table 1 prints, and the neighbour scores it leaves out."""
