"""The pictures of the primer, each drawn on an empty matplotlib figure; first those that sliders move."""

from __future__ import annotations

import numpy as np

from entropy_utils import information
from entropy_utils.entropy_primer import ideal_gas
from entropy_utils.entropy_primer.coarse_graining import gaussian_cells, occupations

CELLS = 6  # of the counting picture
LOGITS = {
    "ladder": (3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.0, -0.5),
    "one favourite": (3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "two favourites": (3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"


def counting(fig, balls, crowding):
    """N balls over six cells, cell k with a share proportional to exp(-crowding k): their ln W / N beside H."""
    left, right = fig.subplots(1, 2)
    cell = np.arange(CELLS)
    here = occupations(np.exp(-crowding * cell), balls)
    left.bar(cell + 1, here, color=BLUE)
    left.yaxis.get_major_locator().set_params(integer=True)
    left.set(xlabel="cell", ylabel="balls in it", title=f"{ways(here)} arrangements")
    grid = np.linspace(0, 4, 41)
    shares = np.exp(-grid[:, None] * cell)
    shares /= shares.sum(-1, keepdims=True)
    dealt = np.array([occupations(share, balls) for share in shares])
    right.plot(grid, information.shannon_entropy(shares), color=GREY, label="H of the shares")
    right.plot(grid, information.exact_factorial_entropy(dealt), ".", color=ORANGE, label=f"ln W / N, N = {balls}")
    right.plot(crowding, information.exact_factorial_entropy(here), "o", color=ORANGE, markersize=10)
    right.set(xlabel="crowding", ylabel="entropy (nats per ball)", ylim=(-0.05, 1.9), title="Two ways to measure it")
    right.legend(loc="upper right")


def ways(counts) -> str:
    """W in words: exact while short, a power of ten when long."""
    log10 = information.log_multiplicity(counts, base=10)
    return f"W = {round(10**log10):,}" if log10 < 7 else f"W ≈ $10^{{{log10:.0f}}}$"


def surprise(fig, sun, cloud, rain, snow):
    """Four outcomes with these weights as blocks: width p, height -ln p; the area of all of them is H."""
    ax = fig.subplots()
    weights = np.array([sun, cloud, rain, snow], float)
    p = weights / weights.sum() if weights.sum() else np.full(4, 0.25)
    seen = p > 0
    heights = np.where(seen, information.surprisal(np.where(seen, p, 1.0)), 0.0)
    left = np.cumsum(p) - p
    colours = (BLUE, "#56B4E9", GREEN, "#CC79A7")
    ax.bar(left, heights, width=p, align="edge", color=colours, edgecolor="white")
    entropy = information.shannon_entropy(p)
    ax.plot([0, 1], [entropy, entropy], color=ORANGE)
    ax.text(1.01, entropy, f"H = {entropy:.2f}", color=ORANGE, va="center")
    ax.plot([0, 1], [np.log(4), np.log(4)], color=GREY, linestyle=":")
    if np.log(4) - entropy > 0.25:
        ax.text(1.01, np.log(4), "ln 4", color=GREY, va="center")
    for name, x, width, height in zip(("sun", "cloud", "rain", "snow"), left, p, heights, strict=True):
        if width > 0.02:
            label = ax.text(x + width / 2, height + 0.06, f"{name}\n{width:.2f}", ha="center", va="bottom", fontsize=9)
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})
    ax.set(xlabel="probability (blocks side by side)", ylabel="surprisal −ln p (nats)", xlim=(0, 1.12))
    ax.set(ylim=(0, max(2.2, heights.max() + 0.8)), title="The area of the blocks is the entropy")


def belief(fig, truth, belief):
    """Mean surprisal of someone who believes in rain with probability `belief` where it rains with `truth`."""
    ax = fig.subplots()
    q = np.linspace(0.01, 0.99, 99)
    p, own, both = pair(truth), pair(belief), np.stack([q, 1 - q], -1)
    entropy, cost = information.shannon_entropy(p), information.cross_entropy(p, own)
    ax.plot(q, information.cross_entropy(np.broadcast_to(p, both.shape), both), color=BLUE)
    ax.axhline(entropy, color=GREEN)
    ax.text(0.995, entropy - 0.06, f"H(p) = {entropy:.2f}, the least", color=GREEN, ha="right", va="top")
    ax.plot([belief, belief], [entropy, cost], color=ORANGE, linewidth=5, solid_capstyle="butt")
    ax.plot(belief, cost, "o", color=BLUE)
    gap = information.kl_divergence(p, own)
    other = information.kl_divergence(own, p)
    ax.set(xlabel="believed probability of rain q", ylabel="cross-entropy (nats per day)", xlim=(0, 1), ylim=(0, 4.8))
    ax.set_title(f"The gap is KL(p‖q) = {gap:.3f}; the other way round, KL(q‖p) = {other:.3f}")


def pair(p) -> np.ndarray:
    return np.array([p, 1 - p])


def temperature(fig, log10_temperature, logits):
    """Softmax of eight logits at a temperature, and its entropy at all temperatures."""
    left, right = fig.subplots(1, 2)
    z, t = np.array(LOGITS[logits]), 10.0**log10_temperature
    p = np.exp((z - z.max()) / t)
    left.bar(np.arange(1, 9), p / p.sum(), color=BLUE)
    left.set(xlabel="choice", ylabel="probability", ylim=(0, 1.02), title=f"T = {t:.3g}")
    grid = np.logspace(-2, 2, 81)
    curve = [information.shannon_entropy_from_logits(z, temperature=step) for step in grid]
    entropy = information.shannon_entropy_from_logits(z, temperature=t)
    right.plot(grid, curve, color=GREY)
    right.axhline(np.log(8), color=GREEN, linestyle=":")
    right.text(0.011, np.log(8) - 0.05, "ln 8", color=GREEN, va="top")
    right.plot(t, entropy, "o", color=ORANGE, markersize=10)
    right.set(xscale="log", xlabel="temperature (units of the logits)", ylabel="entropy H (nats)", ylim=(-0.08, 2.25))
    right.set_xticks((0.01, 0.1, 1, 10, 100))
    right.minorticks_off()
    right.set_title(f"$e^H$ = {np.exp(entropy):.2f} choices")


def cells(fig, log2_width, spread, shift):
    """A Gaussian of standard deviation `spread` seen through cells, and its entropy for cells of every width."""
    left, right = fig.subplots(1, 2)
    width = 2.0**log2_width
    edges, p = gaussian_cells(width, spread, shift)
    x = np.linspace(-7, 7, 281)
    left.stairs(p / width, np.append(edges, edges[-1] + width), fill=True, color="#56B4E9")
    left.plot(x, np.exp(-((x / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi)), color=BLUE)
    left.set(xlabel="position x (m)", ylabel="probability per metre (1/m)", xlim=(-7, 7), title=f"cells of {width:g} m")
    widths = 2.0 ** np.arange(-4, 4.1, 0.5)
    seen = [information.shannon_entropy(gaussian_cells(w, spread, shift)[1]) for w in widths]
    density = information.gaussian_differential_entropy(spread**2)
    right.plot(widths, density - np.log(widths), color=GREEN, linestyle="--", label="h − ln Δ")
    right.plot(widths, seen, color=BLUE, label="H of the cells")
    right.plot(width, information.shannon_entropy(p), "o", color=ORANGE, markersize=10)
    right.set_xscale("log", base=2)
    right.set(xticks=(1 / 16, 1 / 4, 1, 4, 16), xticklabels=("1/16", "1/4", "1", "4", "16"))
    right.set(xlabel="width of the cells Δ (m)", ylabel="entropy (nats)", ylim=(-1, 5.5))
    right.set_title(f"h = {density:.2f} nats")
    right.legend(loc="upper right")


def heat_or_squeeze(fig, log10_compression, heating):
    """Gas of a cluster's core in the plane of density and temperature: squeezed along an adiabat, then heated."""
    ax = fig.subplots()
    n0, t0 = 0.02, 3.0
    n = np.logspace(-4, 0, 9)
    for k in (3, 10, 30, 100, 300, 1000):
        ax.plot(n, k * n ** (2 / 3), color="0.75", linewidth=1)
        end = min(1.08, (150 / k) ** 1.5)
        ax.text(end, k * end ** (2 / 3), f"{k}", color=GREY, fontsize=9, va="center")
    ax.text(1.08, 1, "K in\nkeV cm²", color=GREY, fontsize=9, va="center")
    n1 = n0 * 10.0**log10_compression
    t1 = t0 * (n1 / n0) ** (2 / 3)
    t2 = t1 * heating
    ax.plot([n0, n1], [t0, t1], color=BLUE, linewidth=3)
    ax.plot([n1, n1], [t1, t2], color=ORANGE, linewidth=3)
    ax.plot(n0, t0, "o", color="black")
    ax.plot(n1, t2, "o", color=ORANGE, markersize=10)
    before, after = ideal_gas.adiabat(t0, n0), ideal_gas.adiabat(t2, n1)
    gain = ideal_gas.entropy_gain(before, after)
    ax.set(xscale="log", yscale="log", xlim=(1e-4, 3), ylim=(0.05, 200))
    ax.set(xticks=(1e-4, 1e-3, 1e-2, 0.1, 1), yticks=(0.1, 1, 10, 100), yticklabels=("0.1", "1", "10", "100"))
    ax.minorticks_off()
    ax.set(xlabel="density n (cm$^{-3}$)", ylabel="temperature kT (keV)")
    ax.set_title(f"K from {before:.3g} to {after:.3g} keV cm²: entropy {gain:+.2f} $k_B$ per particle")


def there_and_back(fig, experiment, records):
    """ln W / N of a `Mixing` run whose moves are undone halfway, with the turn and the return marked."""
    ax, turn = fig.subplots(), experiment.turn_back_after
    ax.plot(records.sweep, records.ln_w)
    most = np.log(experiment.cells)
    ax.axhline(most, color=GREY, linestyle=":")
    ax.text(records.sweep.max(), most + 0.05, f"ln {experiment.cells}", ha="right", va="bottom", color=GREY)
    for time, word in ((turn, "all moves undone from here"), (2 * turn, "home; then further back")):
        ax.axvline(time, color=ORANGE, linestyle="--", linewidth=1)
        ax.text(time + 0.1, 0.08, word, color=ORANGE)
    ax.set(xlabel="time (sweeps: one move per ball)", ylabel="entropy ln W / N (nats per ball)", ylim=(0, 1.12 * most))


def stirling_error(fig, sizes, error, leading, rest):
    """H - ln W / N against N, the ln N / N term, and what that leaves while rounding does not drown it."""
    ax = fig.subplots()
    ax.loglog(sizes, error, "o-", label="H − ln W / N, exact")
    ax.loglog(sizes, leading, "--", color="black", linewidth=1.2, label="its ln N / N term")
    ax.loglog(sizes[:6], rest[:6], "s-", label="what is left")
    ax.set(xlabel="number of balls N", ylabel="error (nats per ball)")
    ax.legend()


def mixing(fig, experiment, records):
    """The first sweeps of a `Mixing` run, one line per seed: ln W / N with its prediction, and Stirling's error."""
    left, right = fig.subplots(1, 2)
    early = records[records.sweep <= 6]
    for _, one in early.groupby("seed"):
        left.plot(one.sweep, one.ln_w, color=BLUE, linewidth=1)
        right.plot(one.sweep, 1e3 * one.stirling, color=ORANGE, linewidth=1)
    time = np.linspace(0, early.sweep.max(), 121)
    predicted = experiment.expected_shannon(time * experiment.balls)
    left.plot(time, predicted, "--", color="black", label="H of the exact mean shares (3.2)")
    left.axhline(np.log(experiment.cells), color=GREY, linestyle=":")
    left.set(xlabel="time (sweeps)", ylabel="ln W / N (nats per ball)", title="Entropy rises to ln M (dotted)")
    left.legend(loc="lower right")
    right.set(xlabel="time (sweeps)", ylabel="H − ln W / N ($10^{-3}$ nats per ball)", title="Stirling's error")


def occupation(fig, balls, cells, held):
    """Histogram of `held`, occupations of one cell, with the binomial law of independent draws."""
    ax = fig.subplots()
    n = np.arange(held.min(), held.max() + 1)
    ways = information.log_multiplicity(np.stack([n, balls - n], axis=-1))
    law = np.exp(ways + (balls - n) * np.log(cells - 1) - balls * np.log(cells))
    edges = np.arange(n[0], n[-1] + 2, max(1, n.size // 30)) - 0.5
    ax.hist(held, bins=edges, density=True, color="#56B4E9", label="seen, all seeds and times")
    ax.plot(n, law, color="black", label="binomial, exact")
    ax.set(xlabel="balls in the first cell", ylabel="probability")
    ax.legend(loc="upper left")


def runs(fig, runs):
    """ln W / N of several runs of `Mixing` over time: `runs` holds (label, records), the newest last."""
    ax = fig.subplots()
    for number, (label, records) in enumerate(runs):
        newest = number == len(runs) - 1
        for seed, one in records.groupby("seed"):
            shown = {"label": label} if seed == records.seed.iloc[0] else {}
            ax.plot(one.sweep, one.ln_w, color=f"C{number % 8}", linewidth=1.6 if newest else 0.9, **shown)
    ax.set(xlabel="time (sweeps of N moves)", ylabel="ln W / N (nats per ball)", ylim=(-0.05, None))
    if runs:
        ax.legend(loc="lower right")
