"""The one form of everything that takes longer than a blink: an `Experiment` with a generator `run()`, and `collect`.

An experiment is a frozen pydantic model: its fields are the parameters, with bounds, description and unit, and its
`run()` yields one small flat record per step. Headless runs, workbenches and sweeps all consume that generator.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import types
import typing
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from entropy_utils.lab.errors import BrokenFile, LabError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, int | float | str | bool | None]


class Parameters(BaseModel):
    """A frozen, strict set of parameters: declare fields with bounds, description and unit.

    Types are strict (``"1e-3"`` is no float, ``True`` is no int); an int passes for a float and a list for a tuple.
    Anything else raises a one-line `ParameterError` naming the field, the value and what is allowed.
    Extra information for the workbench goes into ``json_schema_extra``: ``{"unit": "nats", "scale": "log"}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    def __init__(self, /, **values):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _one_line(type(self), error) from None

    @model_validator(mode="before")
    @classmethod
    def _plain_values(cls, values: dict) -> dict:
        """Lists become tuples where a tuple is due (JSON and YAML have no tuples), numpy scalars plain numbers."""
        plain = {}
        for name, value in values.items():
            if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
                value = value.item()
            field = cls.model_fields.get(name)
            plain[name] = tuple(value) if isinstance(value, list) and field and _is_tuple(field.annotation) else value
        return plain

    def replace(self, **changes) -> Self:
        """The same parameters with some fields changed, all checked again."""
        return type(self)(**{**dict(self), **changes})


class Experiment(Parameters):
    """Parameters of one run and the run itself. Subclass it, declare fields, write `run`.

    The defaults of the fields are the profile ``laptop``; `profiles` holds the changes of the others.
    """

    profiles: ClassVar[dict[str, dict]] = {"smoke": {}, "laptop": {}, "gpu": {}}

    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of every random number of the run")

    @classmethod
    def profile(cls, name: str = "laptop", /, **overrides) -> Self:
        """The experiment at a profile, with some fields overridden; `ParameterError` for anything unknown or wrong."""
        if not isinstance(name, str) or name not in cls.profiles:
            raise ParameterError.of("profile", name, " or ".join(cls.profiles))
        return cls(**{**cls.profiles[name], **overrides})

    @abstractmethod
    def run(self) -> Iterator[Record]:
        """Yield flat records of int, float, str, bool or None: one per step (and seed, if stacked)."""

    def length(self) -> int | None:
        """The number of records that `run` will yield, None if unknown."""
        return None


def _is_tuple(annotation: Any) -> bool:
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return any(tuple in (part, typing.get_origin(part)) for part in parts)


def allowed_values(schema: dict) -> str:
    """What a field accepts, in words, from its JSON schema: ``integer from 1 to 100000``, ``'a' or 'b'``."""
    if "anyOf" in schema:
        return " or ".join(allowed_values(option) for option in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " or ".join(repr(choice) for choice in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "value")
    if kind == "array":
        sizes = {"at least": "minItems", "at most": "maxItems"}
        size = ", ".join(f"{word} {schema[key]}" for word, key in sizes.items() if key in schema)
        items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return f"list of {allowed_values(items)}" + (f" ({size} items)" if size else "")
    words = {"boolean": "True or False", "null": "None", "string": "text", "number": "finite number"}
    limits = {"from": "minimum", "above": "exclusiveMinimum", "to": "maximum", "below": "exclusiveMaximum"}
    bounds = [f"{word} {schema[key]}" for word, key in limits.items() if key in schema]
    pattern = f" matching {schema['pattern']}" if "pattern" in schema else ""
    return " ".join([words.get(kind, kind), *bounds]) + pattern


def _one_line(cls: type[Parameters], error: ValidationError) -> ParameterError:
    """The standard one-line message for everything that pydantic found wrong."""
    fields = cls.model_json_schema()["properties"]
    lines = {}
    for found in error.errors():
        name = str(found["loc"][0]) if found["loc"] else None
        if name is None:  # a check across fields, written by the subclass: its own sentence says what is allowed
            lines[None] = f"{cls.__name__}: {found['msg'].removeprefix('Value error, ')}"
        elif found["type"] == "extra_forbidden":
            known = f"the fields of {cls.__name__}: {', '.join(fields)}"
            lines[name] = str(ParameterError.of(name, found["input"], known, "unknown field"))
        elif found["type"] == "missing":
            lines[name] = f"field '{name}': missing, allowed: {allowed_values(fields[name])}"
        else:
            item = f"{name}[{found['loc'][1]}]" if isinstance(found["loc"][-1], int) else name
            more = f" ({found['msg'].removeprefix('Value error, ')})" if found["type"] == "value_error" else ""
            lines.setdefault(name, str(ParameterError.of(item, found["input"], allowed_values(fields[name]))) + more)
    return ParameterError("; ".join(" ".join(line.split()) for line in lines.values()))


def flat(record: Record) -> Record:
    """A record with numpy and torch scalars unwrapped; TypeError names a field that is no scalar."""
    plain = {}
    for name, value in record.items():
        if type(value) not in _SCALARS and hasattr(value, "item"):
            value = value.item()
        if not isinstance(value, (int, float, str, bool, type(None))):
            raise TypeError(f"record field '{name}': got a {type(value).__name__}, allowed: number, text, bool, None")
        plain[name] = value
    return plain


_SCALARS = {int, float, str, bool, type(None)}


@dataclass(eq=False)
class History:
    """What a run left: `records` (one row per record), the experiment, and what it cost.

    `peak_memory_bytes` is the largest resident memory of the process so far; `completed` is False after an interrupt.
    """

    records: pd.DataFrame
    experiment: Experiment
    wall_s: float
    peak_memory_bytes: int
    versions: dict[str, str]
    completed: bool = True

    def __repr__(self):
        state = "" if self.completed else ", stopped early"
        return (
            f"History of {type(self.experiment).__name__}: {len(self.records)} records, {self.wall_s:.1f} s, "
            f"peak memory {self.peak_memory_bytes / 2**20:.0f} MiB{state}"
        )

    @classmethod
    def of(cls, experiment: Experiment, records: list[Record], wall_s: float, completed: bool = True) -> History:
        """A history of records just made in this process."""
        import pandas as pd

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return cls(pd.DataFrame(records), experiment, wall_s, peak, versions(), completed)

    def save(self, path: str | Path) -> Path:
        """Write one JSON file (floats keep every bit), replacing it in one step; returns its path."""
        path = Path(path)
        columns = {
            str(name): {"dtype": str(column.dtype), "values": column.tolist()} for name, column in self.records.items()
        }
        kind = type(self.experiment)
        document = {
            "format": "entropy_utils history 1",
            "experiment": {
                "class": f"{kind.__module__}:{kind.__qualname__}",
                "parameters": self.experiment.model_dump(mode="json"),
            },
            "wall_s": self.wall_s,
            "peak_memory_bytes": self.peak_memory_bytes,
            "versions": self.versions,
            "completed": self.completed,
            "rows": len(self.records),
            "columns": columns,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read a file written by `save`; `BrokenFile` names a file that is truncated or something else."""
        import pandas as pd

        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            module, name = document["experiment"]["class"].split(":")
            kind = getattr(import_module(module), name)
            if not (isinstance(kind, type) and issubclass(kind, Experiment)):
                raise ValueError(f"{module}:{name} is no Experiment")
            columns = {
                name: pd.Series(column["values"], dtype=column["dtype"], index=range(document["rows"]))
                for name, column in document["columns"].items()
            }
            return cls(
                pd.DataFrame(columns, index=range(document["rows"])),
                kind(**document["experiment"]["parameters"]),
                *(document[key] for key in ("wall_s", "peak_memory_bytes", "versions", "completed")),
            )
        except FileNotFoundError:
            raise BrokenFile(f"history file '{path}': missing") from None
        except (ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise BrokenFile(f"history file '{path}': truncated or not a history ({reason})") from None


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries loaded in this process that can change a result."""
    names = ("entropy_utils", "numpy", "scipy", "pandas", "torch", "transformers", "numba")
    return {"python": sys.version.split()[0]} | {
        name: str(sys.modules[name].__version__) for name in names if hasattr(sys.modules.get(name), "__version__")
    }


def collect(experiment: Experiment, progress: bool = True) -> History:
    """Run an experiment to its end and return its `History`; an interrupt (Ctrl-C) returns what is there so far.

    A `LabError` of the run is raised, with what is there so far as its `history`.
    """
    records, completed, start = [], True, time.perf_counter()
    line, run = _ProgressLine(experiment, progress), experiment.run()
    try:
        for record in run:
            records.append(flat(record))
            line.update(len(records), time.perf_counter() - start)
    except KeyboardInterrupt:
        completed = False
    except LabError as error:
        error.history = History.of(experiment, records, time.perf_counter() - start, completed=False)
        raise
    finally:
        run.close()
    history = History.of(experiment, records, time.perf_counter() - start, completed)
    line.finish(history)
    return history


class _ProgressLine:
    """One line of text, rewritten in place: by a display handle in a notebook, by a carriage return on a terminal.

    No widget and no stderr in a notebook, so the last state stays in the stored outputs; silent where nobody watches.
    """

    def __init__(self, experiment: Experiment, wanted: bool):
        self.name, self.total, self.shown, self.handle = type(experiment).__name__, experiment.length(), 0.0, None
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        self.kernel = wanted and shell is not None and hasattr(shell, "kernel")
        self.terminal = wanted and not self.kernel and sys.stderr.isatty()

    def update(self, done: int, elapsed: float) -> None:
        if elapsed - self.shown < 0.5:
            return
        self.shown = elapsed
        left = f" of {self.total}, about {elapsed * max(self.total - done, 0) / done:.0f} s left" if self.total else ""
        self._write(f"{self.name}: record {done}{left}")

    def finish(self, history: History) -> None:
        self._write(repr(history).removeprefix("History of "), end="\n")

    def _write(self, text: str, end: str = "") -> None:
        if self.terminal:
            sys.stderr.write(f"\r{text:<79}{end}")
            sys.stderr.flush()
        elif self.kernel:
            from IPython.display import display

            bundle = {"text/plain": text}
            if self.handle is None:
                self.handle = display(bundle, raw=True, display_id=True)
            else:
                self.handle.update(bundle, raw=True)
