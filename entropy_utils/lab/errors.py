"""Errors of the lab: one line each, and in a notebook that line alone, without a traceback.

IPython (hence JupyterLab and papermill) asks an exception for ``_render_traceback_``; returning the one line hides the
frames of the lab, which say nothing to someone who mistyped a parameter.
"""

from __future__ import annotations

from typing import Any


class LabError(Exception):
    """Base of the lab's errors: the message is one line and is all that a notebook shows.

    `history`: what a run had yielded when it raised this, a `History` that `collect` attaches; None elsewhere.
    """

    history: Any = None

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class ParameterError(LabError, ValueError):
    """A parameter that cannot be used; the line names the field, the value got and what is allowed."""

    @classmethod
    def of(cls, field: str, value: Any, allowed: str, what: str = "field") -> ParameterError:
        """The standard line, ``field 'steps': got '7x' (str), allowed: integer from 1 to 100000``."""
        return cls(f"{what} '{field}': got {brief(value)} ({type(value).__name__}), allowed: {allowed}")


class DataUnavailable(LabError, FileNotFoundError):
    """A data set that is not on this machine; the line names source, size, licence and the folder to put it in."""


class BrokenFile(LabError, ValueError):
    """A file of ours (history, run card, claims, catalogue) that is truncated or not what it should be; it is named."""


def brief(value: Any, width: int = 60) -> str:
    """`repr` of a value on one line, cut in the middle to at most `width` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= width else text[: width // 2] + "…" + text[-(width // 2 - 1) :]
