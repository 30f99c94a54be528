"""The catalogue, `entropy_utils/collection.toml`: every notebook, its paper, its time budgets, its claims.

A claim names the one number that a notebook measures and the bounds it must satisfy at each profile, or why it cannot
be tested there. Nothing else decides a verdict. A wrong key or value is an error that names the notebook or the claim.
"""

from __future__ import annotations

import os
import tomllib
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from entropy_utils.lab.errors import BrokenFile, ParameterError

Profile = Literal["smoke", "laptop", "gpu", "hub"]
PROFILES = ("smoke", "laptop", "gpu", "hub")
COLLECTION = Path(__file__).parents[1] / "collection.toml"
_OBJECT = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"  # "package.module:Name"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Bounds(_Table):
    """The closed interval that a measured number must lie in; one side may be open."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _not_empty(self):
        if self.min is None and self.max is None:
            raise ValueError("needs min or max")
        if None not in (self.min, self.max) and self.min > self.max:
            raise ValueError(f"min {self.min:g} above max {self.max:g}")
        return self

    def hold(self, value: float) -> bool:
        """Whether a value lies inside; NaN does not."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self):
        if self.min is None:
            return f"≤ {self.max:.10g}"
        return f"≥ {self.min:.10g}" if self.max is None else f"{self.min:.10g} … {self.max:.10g}"


class Claim(_Table):
    """One claim of a paper, the number measured for it, and what that number must be."""

    id: str
    paper_claim: str = Field("", pattern=r"^(\d\d\.[a-z])?$")
    says: str = Field(min_length=1)
    published: str = Field(min_length=1)
    measures: str = Field(min_length=1)
    expect: dict[Profile, Bounds] = {}
    untestable: dict[Profile, str] = {}
    not_reproduced: dict[Profile, str] = {}

    @model_validator(mode="after")
    def _judged_everywhere(self):
        for profile in PROFILES:
            both = (profile in self.expect) + (profile in self.untestable)
            if both == 2:
                raise ValueError(f"has both expect.{profile} and untestable.{profile}")
            if both == 0 and profile in ("smoke", "laptop"):
                raise ValueError(f"needs expect.{profile} or untestable.{profile}")
            if profile in self.not_reproduced and profile not in self.expect:
                raise ValueError(f"not_reproduced.{profile} without expect.{profile}")
        return self

    def scale(self, profile: str) -> str:
        """The profile whose bounds apply: `gpu` and `hub` fall back to the next smaller one that the claim has."""
        order = PROFILES[: PROFILES.index(profile) + 1][::-1]
        return next(name for name in order if name in self.expect or name in self.untestable)


class Paper(_Table):
    """Where a paper stands; `code` is the authors' repository, empty if there is none."""

    authors: str
    year: int = Field(ge=1900, le=2100)
    title: str
    arxiv: str = Field(pattern=r"^\d{4}\.\d{5}$")
    code: str = ""


class Notebook(_Table):
    """One notebook: file, title, package room, status, main experiment, exercises, budgets, paper and claims.

    `hub` is the experiment of profile ``hub``: real models and data by name.
    """

    id: str = Field(pattern=r"^\d\d$")
    file: str = Field(pattern=r"^\d\d_\w+\.ipynb$")
    title: str = Field(min_length=1)
    room: str = Field(pattern=r"^\w*$")
    status: Literal["written", "planned"]
    experiment: str | None = Field(None, pattern=_OBJECT)
    hub: str | None = Field(None, pattern=_OBJECT)
    exercises: str | None = Field(None, pattern=_OBJECT)
    minutes: dict[Profile, float] = {}
    cell_limit_s: dict[Profile, float] = {}
    paper: Paper | None = None
    claims: tuple[Claim, ...] = Field((), alias="claim")

    @field_validator("claims", mode="before")
    @classmethod
    def _tuple(cls, claims: Any) -> Any:
        return tuple(claims) if isinstance(claims, list) else claims

    @model_validator(mode="after")
    def _named_alike(self):
        if not self.file.startswith(self.id):
            raise ValueError(f"file '{self.file}' does not start with the id")
        for claim in self.claims:
            if not claim.id.startswith(self.id + "."):
                raise ValueError(f"claim '{claim.id}' does not start with '{self.id}.'")
            if [other.id for other in self.claims].count(claim.id) > 1:
                raise ValueError(f"claim '{claim.id}' stands twice")
        return self

    def claim(self, id: str) -> Claim:
        """The claim of that id; `ParameterError` lists the ids there are."""
        found = {claim.id: claim for claim in self.claims}
        if id not in found:
            raise ParameterError.of("claim", id, ", ".join(found) or f"notebook {self.id} has no claims")
        return found[id]


class Catalogue(_Table):
    """The notebooks in order."""

    notebooks: tuple[Notebook, ...]

    @classmethod
    def load(cls, path: str | Path = COLLECTION) -> Catalogue:
        """Read a catalogue; `BrokenFile` names the file, the notebook or claim, the key and what is wrong."""
        path = Path(path)
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise BrokenFile(f"{path.name}: {error}") from None
        if set(tables) != {"notebook"}:
            raise BrokenFile(f"{path.name}: top-level keys {sorted(tables)}, allowed: [[notebook]] only")
        notebooks = []
        for number, table in enumerate(tables["notebook"]):
            try:
                notebooks.append(Notebook(**table))
            except ValidationError as error:
                raise BrokenFile(f"{path.name}: {_where(table, number, error.errors()[0])}") from None
        ids = [notebook.id for notebook in notebooks]
        if ids != sorted(set(ids)):
            raise BrokenFile(f"{path.name}: notebook ids {', '.join(ids)} are not in order, each once")
        return cls(notebooks=tuple(notebooks))

    def notebook(self, id: str) -> Notebook:
        """The notebook of that id; `ParameterError` lists the ids there are."""
        found = {notebook.id: notebook for notebook in self.notebooks}
        if id not in found:
            raise ParameterError.of("notebook", id, ", ".join(found))
        return found[id]


@lru_cache(maxsize=1)
def collection() -> Catalogue:
    """The catalogue of this package, or the one that ``$ENTROPY_COLLECTION`` names, read once."""
    return Catalogue.load(os.environ.get("ENTROPY_COLLECTION", COLLECTION))


def load_object(spec: str) -> Any:
    """The object behind ``package.module:Name``; `BrokenFile` if it is not there."""
    module, name = spec.split(":")
    try:
        return getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise BrokenFile(f"{COLLECTION.name}: '{spec}' cannot be loaded: {error}") from None


def _where(table: dict, number: int, found: dict) -> str:
    """``claim '05.law': expect.smoke.mn: unknown key`` from a pydantic error."""
    place, loc = f"notebook '{table.get('id', number)}'", list(found["loc"])
    if loc[:1] == ["claim"] and len(loc) > 1:
        claim = table["claim"][loc[1]]
        place, loc = f"claim '{claim.get('id', loc[1]) if isinstance(claim, dict) else claim}'", loc[2:]
    message = {"extra_forbidden": "unknown key", "missing": "missing"}.get(found["type"], found["msg"])
    key = ".".join(str(part) for part in loc if part != "[key]")
    got = "" if found["type"] in ("missing", "value_error") else f" (got {found['input']!r})"
    return f"{place}: {key + ': ' if key else ''}{message.removeprefix('Value error, ')}{got}"
