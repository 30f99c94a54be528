"""Figures of the gas, of profiles and of the real tables for notebook 03. Every function draws on the figure it is given."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import cooling, core_entropy, cosmology, merger_rate
from .classes import CLASSES, ENTROPY_LIMITS, TIME_LIMITS, cross_table, fractions
from .history_plots import COLOUR, ENTROPY, GREY
from .mixture import compare
from .profiles import ProfileFit, profile

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
COOLING, TEMPERATURE, MASS = "cooling time (Gyr)", "temperature kT (keV)", "log10 M500c (Msun)"
MASS_BINS = (13.9, 14.3, 14.6, 14.9, 15.3)
PLAIN = (0.01, 0.1, 1, 10, 100, 1000)


# Parts of figures


def plain_ticks(axis, ticks) -> None:
    """Numbers instead of powers of ten on a logarithmic axis."""
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()


def by_class(ax: Axes, x, y, classes) -> None:
    """Points in the colours of their classes."""
    for number, name in enumerate(CLASSES):
        chosen = np.asarray(classes) == number
        ax.plot(x[chosen], y[chosen], ".", color=COLOUR[name], ms=4, alpha=0.75, label=name)


def limits(ax: Axes, at: tuple[float, float], vertical: bool = True) -> None:
    """The limits of the classes as dashed lines."""
    for value in at:
        (ax.axvline if vertical else ax.axhline)(value, color=GREY, ls="--", lw=1)


# Figures


def state_plane(fig: Figure, table: pd.DataFrame) -> None:
    """Temperature and density of the cores, coloured by class, with lines of constant entropy and cooling time."""
    ax = fig.subplots()
    kT, n_e = table["kT_kev"].to_numpy(), 10 ** table["log10_ne0_cm3"].to_numpy()
    by_class(ax, n_e, kT, table["cc_class"])
    density = np.geomspace(n_e.min() / 1.4, n_e.max() * 1.4, 60)
    low, high = kT.min() / 1.2, kT.max() * 1.2
    grid = np.geomspace(low, high, 60)
    for K, t, shade in zip(ENTROPY_LIMITS, TIME_LIMITS, ("black", "0.55"), strict=True):
        ax.plot(density, K * density ** (2 / 3), color=shade, lw=1.2, label=f"K = {K:g} keV cm²")
        # t_cool goes as 1 / n_e at fixed temperature; n_e = 1 where K = kT
        ax.plot(cooling.cooling_time(grid, grid) / t, grid, color=shade, lw=1.2, ls="--", label=f"t_cool = {t:g} Gyr")
    ax.set(xscale="log", yscale="log", xlim=density[[0, -1]], ylim=(low, high))
    ax.set(xlabel="electron density (cm⁻³)", ylabel=TEMPERATURE, title=f"{len(table)} cores by entropy and cooling time")
    plain_ticks(ax.xaxis, (0.01, 0.1, 1))
    plain_ticks(ax.yaxis, (2, 5, 10, 20))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside right center")


def cooling_and_feeding(fig: Figure, kT: float = 5.0) -> None:
    """The cooling function; the collapse of a core, exact and integrated; and what goes as K^(-3/2)."""
    one, two, three = fig.subplots(1, 3)
    T = np.geomspace(0.1, 20, 200)
    one.loglog(T, cooling.cooling_function(T) / 1e-23, color=BLUE, label="Λ(T)")
    one.loglog(T, 10 * cooling.C2 * T**0.5, color=ORANGE, ls="--", label="bremsstrahlung part")
    one.set(xlabel=TEMPERATURE, ylabel="Λ (10⁻²³ erg cm³ / s)", title="Cooling function")
    one.legend(loc="upper right")
    plain_ticks(one.xaxis, (0.1, 1, 10))
    plain_ticks(one.yaxis, (0.3, 1, 3, 10))
    start, t_cool = 50.0, 2.0
    times = np.linspace(0, 2 / 3 * t_cool, 400)
    two.plot(times, cooling.bremsstrahlung_entropy(times, start, t_cool), color=BLUE, label="exact")
    for steps, marker in ((8, "o"), (32, ".")):
        coarse = np.linspace(0, 0.6 * t_cool, steps + 1)
        track = cooling.entropy_track(start, coarse, lambda K: t_cool * (K / start) ** 1.5)
        two.plot(coarse, track, marker, color=ORANGE, ms=5, label=f"Euler, {steps} steps")
    two.set(xlabel="time (Gyr)", ylabel=ENTROPY, title="Collapse without heating", ylim=(0, 53))
    two.legend(loc="lower left")
    K = np.geomspace(5, 300, 100)
    three.loglog(K, 1 / cooling.cooling_time(K, kT), color=BLUE, label=f"1 / t_cool at {kT:g} keV (per Gyr)")
    three.loglog(K, core_entropy.bondi_rate(3e9, K), color=ORANGE, label="Bondi, 3·10⁹ Msun (Msun / yr)")
    three.set(xlabel=ENTROPY, ylabel="rate", title="Both go as K$^{-3/2}$", ylim=(3e-5, 3000))
    three.legend(loc="upper right", fontsize=8)
    plain_ticks(three.xaxis, (10, 30, 100, 300))


def accept_profiles(fig: Figure, table: pd.DataFrame, split: float = 50.0) -> None:
    """ACCEPT's fitted profiles on both sides of K0 = 50 keV cm², and K0 of its two fits."""
    left, right = fig.subplots(1, 2, width_ratios=(1.5, 1))
    usable = table[table["r_max_mpc"] >= 0.02]
    for row in usable.itertuples():
        r = np.geomspace(5, 1000 * row.r_max_mpc, 40)
        shade = BLUE if row.k0_flat <= split else ORANGE
        left.plot(r, profile(r, row.k0_flat, row.k100_flat, row.alpha_flat), color=shade, lw=0.5, alpha=0.35)
    for low, shade, name in ((True, BLUE, "K0 ≤ 50"), (False, ORANGE, "K0 > 50")):
        part = usable[(usable["k0_flat"] <= split) == low]
        r = np.geomspace(5, 1000, 60)
        middle = profile(r, *(part[column].median() for column in ("k0_flat", "k100_flat", "alpha_flat")))
        left.plot(r, middle, color="white", lw=5)
        left.plot(r, middle, color=shade, lw=2.5, label=f"{name}: medians of {len(part)}")
    left.set(
        xscale="log", yscale="log", xlabel="radius (kpc)", ylabel="K (keV cm²)", title="Fitted profiles", ylim=(3, 5000)
    )
    plain_ticks(left.xaxis, (10, 100, 1000))
    plain_ticks(left.yaxis, (10, 100, 1000))
    left.legend(loc="upper left")
    both = table[(table["k0_flat"] > 0) & (table["k0_extr"] > 0)]
    line = np.array([1, 600])
    right.loglog(line, line, color=GREY, lw=1, ls="--")
    right.loglog(both["k0_flat"], both["k0_extr"], ".", color=GREEN, ms=4)
    right.set(xlabel="K0, flat centre (keV cm²)", ylabel="K0, extrapolated (keV cm²)", title="Two fits, two K0")
    plain_ticks(right.xaxis, (1, 10, 100))
    plain_ticks(right.yaxis, (1, 10, 100))


def fitted_profile(fig: Figure, r, K, sigma, fit: ProfileFit) -> None:
    """Entropies with errors at their radii, the fit, and its residuals in units of the errors."""
    above, below = fig.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    fine = np.geomspace(min(r), max(r), 200)
    above.errorbar(r, K, sigma, fmt="o", color=GREY, ms=4, lw=1)
    above.plot(fine, profile(fine, fit.K0, fit.K100, fit.alpha), color=BLUE)
    above.plot(fine, profile(fine, 0, fit.K100, fit.alpha), color=BLUE, ls="--", lw=1, label="power law alone")
    above.axhline(fit.K0, color=ORANGE, ls=":", label="K0")
    above.set(xscale="log", yscale="log", ylabel="K (keV cm²)")
    above.set_title(
        f"K0 = {fit.K0:.1f} ± {fit.K0_error:.1f}, K100 = {fit.K100:.0f} ± {fit.K100_error:.0f}, "
        f"α = {fit.alpha:.2f} ± {fit.alpha_error:.2f}; χ² / d.o.f. = {fit.chi2:.1f} / {fit.degrees}"
    )
    above.legend(loc="upper left")
    below.axhline(0, color=BLUE, lw=1)
    below.plot(r, (K - profile(r, fit.K0, fit.K100, fit.alpha)) / sigma, "o", color=GREY, ms=4)
    below.set(xlabel="radius (kpc)", ylabel="residual / σ")
    plain_ticks(below.xaxis, [tick for tick in PLAIN if min(r) <= tick <= max(r)])
    plain_ticks(above.yaxis, [tick for tick in (1, 3, 10, 30, 100, 300, 1000) if min(K) / 1.5 <= tick <= max(K) * 1.5])


def catalogue(fig: Figure, table: pd.DataFrame) -> None:
    """The cores at z = 0: cooling time against entropy, classes by mass, and formation against mass."""
    one, two, three = fig.subplots(1, 3)
    K0 = table["k0_kev_cm2"].to_numpy()
    by_class(one, K0, table["t_cool0_gyr"].to_numpy(), table["cc_class"])
    limits(one, ENTROPY_LIMITS)
    limits(one, TIME_LIMITS, vertical=False)
    one.set(xscale="log", yscale="log", xlabel=ENTROPY, ylabel=COOLING, title="Classes by cooling time")
    plain_ticks(one.xaxis, (10, 30, 100, 300))
    plain_ticks(one.yaxis, (0.1, 1, 10))
    one.set_ylim(top=8 * one.get_ylim()[1])  # room for the legend
    one.legend(loc="upper left", markerscale=2, ncols=3, columnspacing=0.8, handletextpad=0.2, fontsize=8)
    mass = table["log10_m500c_msun"].to_numpy()
    number = np.digitize(mass, MASS_BINS) - 1
    names = [f"{low:g}–\n{high:g}" for low, high in pairwise(MASS_BINS)]
    shares = np.array([fractions(table["cc_class"].to_numpy()[number == one_bin]) for one_bin in range(len(names))])
    below = np.zeros(len(names))
    for name, share in zip(CLASSES, shares.T, strict=True):
        two.bar(names, share, bottom=below, color=COLOUR[name], alpha=0.85, width=0.75)
        for place, (start, height) in enumerate(zip(below, share, strict=True)):
            text = f"{100 * height:.0f} %" if height > 0.04 else ""
            two.annotate(text, (place, start + height / 2), ha="center", va="center", color="black", fontsize=8)
        below += share
    two.set(xlabel=MASS, ylabel="share", ylim=(0, 1), title="Classes by mass")
    two.grid(False)
    seen = three.scatter(mass, table["z_form"], c=np.log10(K0), s=9, cmap="cividis")
    bar = fig.colorbar(seen, ax=three, label=ENTROPY, aspect=30)
    bar.set_ticks(np.log10([10, 30, 100, 300]), labels=["10", "30", "100", "300"])
    three.set(xlabel=MASS, ylabel="half-mass formation redshift", title="Formation and mass")


def mixtures(fig: Figure, samples: Mapping[str, np.ndarray]) -> None:
    """Histograms of log10 K0 of several samples with one and with two normal components, and the difference in BIC."""
    axes = fig.subplots(1, len(samples), squeeze=False)[0]
    for ax, (name, K0) in zip(axes, samples.items(), strict=True):
        x = np.log10(np.asarray(K0, float))
        one, two, difference = compare(x)
        ax.hist(x, bins=24, density=True, color="0.85", edgecolor="white")
        grid = np.linspace(x.min() - 0.2, x.max() + 0.2, 300)
        ax.plot(grid, one.density(grid)[:, 0], color=ORANGE, ls="--", label=f"one: BIC {one.bic:.1f}")
        ax.plot(grid, two.density(grid).sum(axis=1), color=BLUE, label=f"two: BIC {two.bic:.1f}")
        white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
        for part, mean in zip(two.density(grid).T, two.means, strict=True):
            ax.plot(grid, part, color=BLUE, lw=1, ls=":")
            place = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
            top = max(part.max(), two.density(mean).sum())
            ax.annotate(f"{10**mean:.3g}", (mean, top), fontsize=8, bbox=white, **place)
        sign = "−" if difference < 0 else "+"
        ax.set(
            xlabel="K0 (keV cm²)",
            ylabel="density per dex",
            title=f"{name} ({x.size}): ΔBIC = {sign}{abs(difference):.1f}",
        )
        ticks = np.array([1, 3, 10, 30, 100, 300, 1000])
        ticks = ticks[(np.log10(ticks) > grid[0]) & (np.log10(ticks) < grid[-1])]
        ax.set_xticks(np.log10(ticks), [f"{tick:g}" for tick in ticks])
        ax.set_ylim(0, 1.4 * ax.get_ylim()[1])
        ax.legend(loc="upper left")


def criteria(fig: Figure, by_time, by_entropy) -> None:
    """The shares of the classes by cooling time and by entropy, and how many cores are in each pair of classes."""
    left, right = fig.subplots(1, 2, width_ratios=(1.6, 1))
    for place, classes in enumerate((by_entropy, by_time)):
        start = 0.0
        for name, share in zip(CLASSES, fractions(classes), strict=True):
            left.barh(
                place, share, left=start, color=COLOUR[name], alpha=0.85, label=name if not place else None, height=0.6
            )
            if share > 0.06:
                left.annotate(f"{100 * share:.0f} %", (start + share / 2, place), ha="center", va="center", fontsize=8)
            start += share
    left.set_yticks((0, 1), ("by\nentropy", "by cooling\ntime"))
    left.set(xlim=(0, 1), ylim=(-0.5, 2.0), xlabel="share", title="Two criteria")
    left.legend(loc="upper center", ncols=3)
    left.grid(False)
    table = cross_table(by_time, by_entropy).to_numpy()
    right.imshow(table, cmap="Blues", vmin=0, vmax=1.5 * table.max())
    for (row, column), number in np.ndenumerate(table):
        right.annotate(str(number), (column, row), ha="center", va="center")
    agree = np.trace(table) / table.sum()
    right.set_xticks(range(3), CLASSES)
    right.set_yticks(range(3), CLASSES)
    right.set(xlabel="by entropy", ylabel="by cooling time", title=f"{100 * agree:.0f} % in the same class")
    right.grid(False)


def merger_rates(fig: Figure, mass: float = 4.2e14) -> None:
    """Mergers per Gyr of a halo of this mass through time, and the share of mergers above each mass ratio."""
    left, right = fig.subplots(1, 2)
    t = np.linspace(cosmology.age(2.5), cosmology.age(0), 100)
    z = cosmology.redshift(t)
    for xi_min, shade in ((0.01, BLUE), (0.1, ORANGE), (0.25, GREEN)):
        left.semilogy(t, merger_rate.merger_rate(mass, z, xi_min), color=shade, label=f"ξ > {xi_min:g}")
    left.set(xlabel="age of the universe (Gyr)", ylabel="mergers per Gyr", title=f"M = {mass / 1e14:g}·10¹⁴ Msun")
    plain_ticks(left.yaxis, (0.1, 0.3, 1, 3, 10))
    left.legend(loc="upper right")
    ln_xi, cumulative = merger_rate.ratio_table(0.01)
    right.semilogx(np.exp(ln_xi), 1 - cumulative / cumulative[-1], color=BLUE)
    right.set(xlabel="mass ratio ξ", ylabel="share of mergers above ξ", title="Most mergers are small", ylim=(0, 1.02))
    plain_ticks(right.xaxis, (0.01, 0.03, 0.1, 0.3, 1))
