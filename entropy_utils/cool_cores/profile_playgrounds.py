"""The pictures of notebook 03 that sliders move and that need no histories: a profile, and the limits of the classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from . import classes
from .cooling import cooling_time
from .core_entropy import electron_density
from .core_plots import BLUE, COOLING, criteria, plain_ticks
from .history_plots import COLOUR, GREY
from .profiles import profile

R = np.geomspace(3, 1000, 300)  # kpc
DRAWN = ((2, 3000), (1e-4, 1), (0.01, 300))  # of K, n_e and t_cool


def cool_core(fig: Figure, K0: float, K100: float, alpha: float, kT: float) -> None:
    """A profile of entropy, and the density and cooling time that gas of one temperature then has at each radius."""
    K = profile(R, K0, K100, alpha)
    t_cool = cooling_time(K, kT)
    names = ("K (keV cm²)", "electron density (cm⁻³)", COOLING)
    axes = fig.subplots(1, 3)
    for ax, values, name, drawn in zip(axes, (K, electron_density(kT, K), t_cool), names, DRAWN, strict=True):
        ax.loglog(R, values, color=BLUE)
        ax.set(xlabel="radius (kpc)", ylabel=name, xlim=R[[0, -1]], ylim=drawn)
        plain_ticks(ax.xaxis, (10, 100, 1000))
    entropy, _, times = axes
    entropy.plot(R, profile(R, 0, K100, alpha), color=GREY, ls="--", lw=1, label="K0 = 0")
    entropy.legend(loc="upper left")
    plain_ticks(entropy.yaxis, (10, 100, 1000))
    plain_ticks(times.yaxis, (0.1, 1, 10, 100))
    times.grid(False)
    low, high = classes.TIME_LIMITS
    for name, bottom, top in zip(classes.CLASSES, (DRAWN[2][0], low, high), (low, high, DRAWN[2][1]), strict=True):
        times.axhspan(bottom, top, color=COLOUR[name], alpha=0.12, lw=0)
        times.annotate(name, (800, np.sqrt(bottom * top)), color=COLOUR[name], ha="right", va="center", fontsize=9)
    found = classes.CLASSES[classes.by_cooling_time(t_cool[:1])[0]]
    where = f"within {R[t_cool < low].max():.0f} kpc" if (t_cool < low).any() else "nowhere"
    entropy.set_title(f"{found}: t_cool = {t_cool[0]:.2g} Gyr inside")
    times.set_title(f"below {low:g} Gyr {where}")


def class_limits(fig: Figure, table: pd.DataFrame, K_low: float, K_high: float, t_low: float, t_high: float) -> None:
    """The catalogue's cores in classes by cooling time and by entropy, with these limits (Gyr; keV cm²)."""
    by_time = classes.by_cooling_time(table["t_cool0_gyr"], (t_low, t_high))
    criteria(fig, by_time, classes.by_entropy(table["k0_kev_cm2"], (K_low, K_high)))
