"""From a slider event to the new picture, inside a real kernel, against `ipywidgets.interactive`."""

from __future__ import annotations

import json

from jupyter_client.manager import start_new_kernel

from tests.bench.timing import row

REPEATS = 40
CODE = """
%matplotlib inline
import asyncio, json, statistics, time
import ipywidgets, matplotlib.pyplot as plt, numpy as np
from entropy_utils import lab

X = np.linspace(0, 6, 200)

def curve(ax, a):
    ax.plot(X, np.sin(a * X), label=f"a = {a:.2f}")
    ax.set(xlabel="time / s", ylabel="entropy / nats", title="A line of 200 points")
    ax.legend()

def fresh(a):
    fig, ax = plt.subplots(figsize=(7, 4), dpi=110)
    curve(ax, a)
    plt.show()

async def ours(ground, a):
    before, start = ground.image.value, time.perf_counter()
    ground.controls["a"].value = a
    while ground.image.value is before:
        await asyncio.sleep(0.0005)
    return time.perf_counter() - start

def peer(panel, a):
    start = time.perf_counter()
    panel.children[0].value = a
    return time.perf_counter() - start

async def medians():
    ground = lab.Playground(lambda fig, a: curve(fig.subplots(), a), a=(0.0, 20.0, 0.01))
    panel = ipywidgets.interactive(fresh, a=(0.0, 20.0, 0.01))
    pairs = [(await ours(ground, a), peer(panel, a)) for a in np.linspace(0.5, 19.5, REPEATS + 3)][3:]
    return [statistics.median(times) for times in zip(*pairs)]

found = [await medians()]
lab.use_style()
found.append(await medians())
print("MEDIANS", json.dumps(found))
"""


def bench_playground() -> list[dict]:
    """Median times over alternating events, first with matplotlib's own style, then with that of the collection.

    Both draw one line of 200 points with axis labels, title and legend on 7 x 4 inches at 110 dpi. The peer makes a
    fresh figure per event for the inline backend, as a notebook would; its time ends when the figure has been sent.
    """
    manager, client = start_new_kernel(kernel_name="python3")
    printed = []

    def keep(message):
        kind, content = message["msg_type"], message["content"]
        printed.append(content.get("text", "") if kind == "stream" else "\n".join(content.get("traceback", [])))

    try:
        client.execute_interactive(CODE.replace("REPEATS", str(REPEATS)), output_hook=keep, timeout=300)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    text = "".join(printed)
    if "MEDIANS" not in text:
        raise RuntimeError(f"the kernel did not finish: {text}")
    rows = []
    for style, (ours, peer) in zip(("matplotlib", "collection"), json.loads(text.split("MEDIANS")[1]), strict=True):
        name, goal = f"slider event to picture, {style} style", "< 0.1 s and ≤ 1/3 of the peer"
        met = ours < 0.1 and peer >= 3 * ours
        rows.append(row(name, ours, peer, "interactive with a fresh figure", "s", goal, met))
    return rows
