"""The runs of notebook 04 by name, for one `lab.sweep`, and the tables that they fill; no configuration is run twice."""

from __future__ import annotations

import math

from .training import Training

A, B = {"lr": 1e-2, "std": 0.18}, {"lr": 3e-2, "std": 0.5}  # the brief's two configurations
POST, NONE, SIGMA, QK_NORM = {"norm": "post"}, {"norm": "none"}, {"method": "sigma"}, {"method": "qk_norm"}
SLOW = {"lr": 3e-3, "std": 0.18}
UNIT = 0.09  # standard deviation at which a 32 x 32 matrix starts with a spectral norm of about 1
MATCHED = {"lr": 0.0054, "std": UNIT}  # B's learning rate over the spectral norm that its matrices start with
RATES, STDS = (1e-3, 3e-3, 1e-2, 3e-2), (0.02, 0.06, 0.18, 1.0)

RUNS: dict[str, dict] = {
    "A pre": A,
    "A pre, sigma": A | SIGMA,
    "A pre, spectral": A | {"method": "spectral"},
    "A pre, weight": A | {"method": "weight"},
    "A pre, soft_cap": A | {"method": "soft_cap"},
    "A pre, qk_clip": A | {"method": "qk_clip"},
    "A post": A | POST,
    "A post, sigma": A | POST | SIGMA,
    "A post, warm-up": A | POST | {"warm_up": 100},
    "A post, clipping": A | POST | {"clip": 1.0},
    "A post, qk_norm": A | POST | QK_NORM,
    "B pre": B,
    "B post": B | POST,
    "B pre, sigma": B | SIGMA,
    "B none, sigma": B | NONE | SIGMA,
    "B pre, qk_norm": B | QK_NORM,
    "B pre, spectral": B | {"method": "spectral"},
    "B pre, weight": B | {"method": "weight"},
    "B none": B | NONE,
    "A post, sigma on qk": A | POST | SIGMA | {"where": "qk"},
    "A post, sigma on all but qk": A | POST | SIGMA | {"where": "all but qk"},
    "A post, sigma from sigma(W)": A | POST | SIGMA | {"gamma_init": "sigma"},
    "B pre, sigma on qk": B | SIGMA | {"where": "qk"},
    "B pre, sigma on all but qk": B | SIGMA | {"where": "all but qk"},
    "B pre, sigma from sigma(W)": B | SIGMA | {"gamma_init": "sigma"},
    "B none, sigma from sigma(W)": B | NONE | SIGMA | {"gamma_init": "sigma"},
    "A post, unit start": A | POST | {"std": UNIT},
    "A post, sigma, unit start": A | POST | SIGMA | {"std": UNIT},
    "B pre, unit start": B | {"std": UNIT},
    "B pre, unit start and matched rate": MATCHED,
    "lr 0.003": SLOW,
    "temperature 0.3 from 0": SLOW | {"temperature": 0.3},
    **{f"temperature 0.1 from {step}": SLOW | {"temperature": 0.1, "temperature_from": step} for step in (0, 20, 100)},
    "temperature 0.1 from 0, sigma": SLOW | {"temperature": 0.1} | SIGMA,
    **{f"lr {lr:g}": A | {"lr": lr} for lr in RATES if lr not in (1e-2, 3e-3)},
    **{f"lr {lr:g}, sigma": A | SIGMA | {"lr": lr} for lr in RATES if lr != 1e-2},
    **{f"lr {lr:g}, qk_norm": A | QK_NORM | {"lr": lr} for lr in RATES},
    **{f"std {std:g}": A | {"std": std} for std in STDS if std != 0.18},
    **{f"std {std:g}, sigma": A | SIGMA | {"std": std} for std in STDS if std != 0.18},
    "B pre, unit start and matched rate, 1000 steps": MATCHED | {"steps": 1000},
    "B pre, sigma, 1000 steps": B | SIGMA | {"steps": 1000},
}
SMOKE = (
    "A pre", "A post", "A post, sigma", "B pre", "B pre, sigma", "B pre, qk_norm", "B pre, unit start and matched rate",
    "lr 0.003", "temperature 0.1 from 0", "std 1",
)  # fmt: skip

CONTROL = ("sigma on", "sigma(W)", "unit", "1000")  # parts of the names of the controls
TABLES: dict[str, dict[str, str]] = {  # table -> label -> name of the run
    **{
        letter: {name: name for name in RUNS if name.startswith(f"{letter} ") and not any(part in name for part in CONTROL)}
        for letter in "AB"
    },
    "std": {f"std {std:g}{more}": "A pre" + more if std == 0.18 else f"std {std:g}{more}"
            for more in ("", ", sigma") for std in STDS},
    "ladder": {f"lr {lr:g}{more}": "A pre" + more if lr == 1e-2 and more != ", qk_norm" else f"lr {lr:g}{more}"
               for more in ("", ", sigma", ", qk_norm") for lr in RATES},
    "temperature": {"as it is": "lr 0.003"} | {name: name for name in RUNS if name.startswith("temperature")},
    "controls": {
        name: name
        for name in (
            "A post", "A post, sigma", "A post, sigma on qk", "A post, sigma on all but qk", "A post, sigma from sigma(W)",
            "A post, unit start", "A post, sigma, unit start",
            "B pre", "B pre, sigma", "B pre, sigma on qk", "B pre, sigma on all but qk", "B pre, sigma from sigma(W)",
            "B none, sigma", "B none, sigma from sigma(W)",
            "B pre, unit start", "B pre, unit start and matched rate",
            "B pre, sigma, 1000 steps", "B pre, unit start and matched rate, 1000 steps",
        )
    },
}  # fmt: skip


def plan(profile: str = "laptop", seed: int = 0, seeds: int | None = None) -> dict[str, Training]:
    """All runs by name, from `seed` on; `seeds` per run, by default the profile's.

    ``smoke`` has a few of each table, all of 60 steps. On a wider model (``gpu``) the initial weights shrink like
    1 / sqrt(width), so that layers start as they do at width 32.
    """
    base = Training.profile(profile, seed=seed)
    shrink, found = math.sqrt(32 / base.width), {}
    for name in SMOKE if profile == "smoke" else RUNS:
        changes = dict(RUNS[name])
        changes["std"] = round(changes["std"] * shrink, 4)
        if profile != "laptop":
            changes["steps"] = base.steps * changes.get("steps", 200) // 200
        changes["seeds"] = seeds or base.seeds
        found[name] = base.replace(**changes)
    return found


def table(name: str, profile: str = "laptop") -> dict[str, str]:
    """Label -> name of the run, of one of the `TABLES`, as far as the profile's plan has them."""
    known = SMOKE if profile == "smoke" else RUNS
    return {label: run for label, run in TABLES[name].items() if run in known}
