"""What every notebook uses and no science knows: experiments, lessons, playgrounds, workbenches, figures, data.

``from entropy_utils import lab`` loads none of it; each name is imported when it is first used (PEP 562), so a plain
script that only needs `Experiment` never pays for widgets or matplotlib. `open` shadows the builtin only in here.
"""

from importlib import import_module

_MODULE_OF = {
    "Experiment": "experiment",
    "History": "experiment",
    "collect": "experiment",
    "sweep": "sweeps",
    "experiment_grid": "sweeps",
    "SweepError": "sweeps",
    "open": "lesson",
    "Lesson": "lesson",
    "Exercise": "lesson",
    "Verdict": "claims",
    "ClaimsTable": "claims",
    "Catalogue": "catalogue",
    "show": "figures",
    "show_animation": "figures",
    "show_source": "figures",
    "use_style": "figures",
    "Playground": "playground",
    "Workbench": "workbench",
    "LabError": "errors",
    "ParameterError": "errors",
    "BrokenFile": "errors",
    "DataUnavailable": "errors",
}
_MODULES = set(_MODULE_OF.values()) | {"data"}
__all__ = sorted(_MODULE_OF)


def __getattr__(name):
    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__ + list(_MODULES))
