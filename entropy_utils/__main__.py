"""`python -m entropy_utils`: run the collection, show the claims of a run, publish its outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from entropy_utils.lab.errors import LabError
from entropy_utils.lab.runner import Runner, make_console

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

ProfileOption = Annotated[str, typer.Option(help="smoke, laptop, gpu or hub")]
OnlyOption = Annotated[str, typer.Option(help="notebooks to take, for example 00,05; empty: all")]
OutOption = Annotated[Path | None, typer.Option(help="where results lie; default build/runs/PROFILE")]
CollectionOption = Annotated[Path | None, typer.Option(help="another catalogue than the package's")]
NotebooksOption = Annotated[Path, typer.Option(help="the folder of the notebooks")]


def ids(only: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in only.split(",") if part.strip())


def one_line(action: Callable[[], int]) -> None:
    """Exit with the action's code; a wrong setting or a broken file is one line on stderr and code 2."""
    try:
        code = action()
    except LabError as error:
        print(error, file=sys.stderr)
        code = 2
    raise typer.Exit(code)


@app.command()
def run(
    profile: ProfileOption = "smoke",
    only: OnlyOption = "",
    resume: Annotated[bool, typer.Option("--resume", help="run only what is missing, failed or stale")] = False,
    jobs: Annotated[int, typer.Option(help="notebooks at a time")] = 2,
    seed: Annotated[int, typer.Option(help="seed of every notebook")] = 0,
    out: OutOption = None,
    collection: CollectionOption = None,
    notebooks: NotebooksOption = Path("notebooks"),
):
    """Execute the notebooks; code 0 only if all completed and no claim fell that is not known to."""
    one_line(lambda: Runner(profile, ids(only), seed, out, collection, notebooks).run(resume, jobs))


@app.command()
def claims(
    profile: ProfileOption = "smoke",
    only: OnlyOption = "",
    out: OutOption = None,
    collection: CollectionOption = None,
    notebooks: NotebooksOption = Path("notebooks"),
):
    """Show the tables of the last run again."""
    one_line(lambda: Runner(profile, ids(only), 0, out, collection, notebooks).report(make_console()))


@app.command()
def publish(
    profile: ProfileOption = "laptop",
    only: OnlyOption = "",
    out: OutOption = None,
    collection: CollectionOption = None,
    notebooks: NotebooksOption = Path("notebooks"),
    readme: Annotated[Path, typer.Option(help="the file with the scoreboard between markers")] = Path("README.md"),
    check: Annotated[bool, typer.Option("--check", help="change nothing, say what is stale")] = False,
):
    """Put the outputs of a run into the notebooks and the claims into the README."""
    from entropy_utils.lab.publish import publish as publish_run
    from entropy_utils.lab.publish import stale

    def action() -> int:
        runner = Runner(profile, ids(only), 0, out, collection, notebooks)
        if not check:
            publish_run(runner, readme)
        problems = stale(runner, readme)
        print("\n".join(problems) or "notebooks and README are up to date")
        return 1 if problems else 0

    one_line(action)


if __name__ == "__main__":
    app()
