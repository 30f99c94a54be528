"""Verdicts on claims: a measured number against the bounds of the catalogue, and the table at the end of a notebook."""

from __future__ import annotations

import html
import math
import statistics
from dataclasses import asdict, dataclass
from typing import Any

from entropy_utils.lab.catalogue import Claim
from entropy_utils.lab.errors import ParameterError

MIME = "application/vnd.entropy.claims+json"  # the runner reads the verdicts of an executed notebook from this output


@dataclass(frozen=True)
class Verdict:
    """What was measured for a claim and what follows: ``reproduced``, ``not reproduced``, ``not testable here`` or,
    in the table only, ``not measured``. `fails` says whether a run with this verdict fails.
    """

    id: str
    paper_claim: str
    says: str
    published: str
    measures: str
    profile: str
    expected: str
    value: float | None  # the number, or the mean over the seeds; None if not finite or not measured
    sd: float | None
    seeds: int | None
    shown: str  # the value as text; empty where the profile cannot test the claim
    verdict: str
    note: str
    fails: bool

    def __repr__(self):
        measured = f": {self.measures} = {self.shown}" if self.shown else ""
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.id}: {self.verdict}{measured}{expected}" + (f" ({self.note})" if self.note else "")


def judge(claim: Claim, profile: str, value: Any = None, sd: float | None = None, seeds: int | None = None) -> Verdict:
    """The verdict on one claim.

    `value` is the claim's number, or a sequence with one number per seed: then every one must lie within the bounds (a
    mixed outcome is not reproduced). A value that is not finite is never reproduced. No value: not measured.
    """
    values, per_seed = ([], False) if value is None else _numbers(value)
    finite = bool(values) and all(map(math.isfinite, values))
    mean = math.fsum(values) / len(values) if finite else None
    if per_seed:
        seeds, sd = len(values), statistics.stdev(values) if finite and len(values) > 1 else None
    scale = claim.scale(profile)
    bounds, note = claim.expect.get(scale), ""
    if bounds is None:
        verdict, note = "not testable here", claim.untestable[scale]
    elif not values:
        verdict = "not measured"
    else:
        held = sum(math.isfinite(v) and bounds.hold(v) for v in values)
        verdict = "reproduced" if held == len(values) else "not reproduced"
        note = f"{held} of {len(values)} seeds" if per_seed and 0 < held < len(values) else ""
    documented = claim.not_reproduced.get(scale)
    if documented and verdict == "not reproduced":
        note = "; ".join(filter(None, (note, documented)))
    elif documented and verdict == "reproduced":
        note = f"holds in this run; {documented}"
    return Verdict(
        **{name: getattr(claim, name) for name in ("id", "paper_claim", "says", "published", "measures")},
        profile=profile,
        expected="" if bounds is None else str(bounds),
        value=mean,
        sd=None if sd is None or not math.isfinite(sd) else float(sd),
        seeds=None if seeds is None else int(seeds),
        shown="" if bounds is None else _shown(values, mean, sd, seeds),
        verdict=verdict,
        note=note,
        fails=verdict == "not measured" or (verdict == "not reproduced" and not documented),
    )


def _numbers(value: Any) -> tuple[list[float], bool]:
    """The numbers of a claim and whether they came as a sequence; `ParameterError` for anything but numbers."""
    items = value.tolist() if hasattr(value, "tolist") else value
    per_seed = isinstance(items, (list, tuple))
    items = items if per_seed else [items]
    if not items or not all(isinstance(item, (int, float)) for item in items):
        raise ParameterError.of("value", value, "a number or one number per seed")
    return [float(item) for item in items], per_seed


def _shown(values: list[float], mean: float | None, sd: float | None, seeds: int | None) -> str:
    if not values:
        return ""
    text = ", ".join(f"{v:.3g}" for v in values) if mean is None else f"{mean:.4g}"
    spread = f" ± {sd:.2g}" if sd is not None else ""
    return text + spread + (f" ({seeds} seed{'s' * (seeds > 1)})" if seeds else "")


@dataclass(frozen=True)
class ClaimsTable:
    """The verdicts of one notebook, shown as text, as an HTML table and as JSON for the runner."""

    notebook: str
    profile: str
    seed: int
    verdicts: tuple[Verdict, ...]

    def rows(self) -> list[dict]:
        """One plain dict per claim."""
        return [{"notebook": self.notebook, "seed": self.seed, **asdict(verdict)} for verdict in self.verdicts]

    def __repr__(self):
        if not self.verdicts:
            return f"Notebook {self.notebook} has no claims."
        return "\n".join([f"Claims of notebook {self.notebook}, profile {self.profile}", *map(repr, self.verdicts)])

    def _repr_html_(self) -> str:
        columns = ("Claim", "What it says", "Published", "We measure", "Expected", "Ours", "Verdict")
        head = "".join(f"<th>{name}</th>" for name in columns)
        body = ""
        for v in self.verdicts:
            verdict = f"{v.verdict}: {v.note}" if v.note else v.verdict
            cells = (v.id, v.says, v.published, v.measures, v.expected, v.shown, verdict)
            body += "<tr>" + "".join(f'<td align="left">{html.escape(cell)}</td>' for cell in cells) + "</tr>\n"
        return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/plain": repr(self), "text/html": self._repr_html_(), MIME: self.rows()}
