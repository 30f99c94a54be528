"""Language models small enough to train in seconds, and the per-token quantities of any causal language model.

Names are imported on first use (PEP 562), so importing this room loads neither torch nor transformers.
"""

from importlib import import_module

_HOME = {
    "tiny_causal_lm": "models",
    "Sample": "sampling",
    "sample": "sampling",
    "TokenStatistics": "statistics",
    "token_statistics": "statistics",
    "token_statistics_reference": "statistics",
}
__all__ = sorted(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
