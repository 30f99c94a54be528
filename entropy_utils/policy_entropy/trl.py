"""Every entropy intervention on real models, through TRL: the trainer, the experiment, and a command line.

    python -m entropy_utils.policy_entropy.trl --intervention "kl_cov share=0.002" --steps 100 --output runs/kl_cov
    accelerate launch -m entropy_utils.policy_entropy.trl ...        several GPUs

prints one JSON record per rollout. In a program of one's own, `EntropyGRPOTrainer` takes the place of `trl.GRPOTrainer`:

    from entropy_utils.policy_entropy.trl import EntropyGRPOTrainer
    EntropyGRPOTrainer(model=..., reward_funcs=..., args=GRPOConfig(...), train_dataset=..., intervention="steer").train()

TRL is loaded when a trainer is made, so that help and wrong settings answer at once.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from entropy_utils.lab.errors import LabError

from .real_models import RealGRPO

if TYPE_CHECKING:
    from .trl_trainer import EntropyGRPOTrainer

__all__ = ["EntropyGRPOTrainer", "RealGRPO", "train"]


def __getattr__(name: str) -> Any:
    if name != "EntropyGRPOTrainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .trl_trainer import EntropyGRPOTrainer

    return EntropyGRPOTrainer


def train(**settings: Any) -> int:
    """Run the experiment with these fields and print its records; the exit code: 0, or 2 after a one-line error."""
    main_process = os.environ.get("RANK", "0") == "0"
    try:
        with closing(RealGRPO.profile("hub", **settings).run()) as run:
            for record in run:
                if main_process:
                    print(json.dumps(record), flush=True)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _command() -> Any:
    """A command whose options are the fields of `RealGRPO`."""
    import typer

    def command(**settings: Any) -> None:
        raise typer.Exit(train(**settings))

    options = []
    for name, field in RealGRPO.model_fields.items():
        plain = name == "intervention" or get_origin(field.annotation) is not None
        kind, default = (str, field.default) if plain else (field.annotation, field.default)
        if name == "intervention":
            default = default.name
        text = field.description or ""
        if get_origin(field.annotation) is not None and name != "intervention":
            text += ": " + ", ".join(field.annotation.__args__)
        annotation = Annotated[kind, typer.Option(help=text)]
        options.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    command.__signature__ = inspect.Signature(options)
    command.__annotations__ = {option.name: option.annotation for option in options}
    command.__doc__ = "Train a language model with GRPO and an entropy intervention, for example --intervention steer."
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    return app


if __name__ == "__main__":
    _command()()
