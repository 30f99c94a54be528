"""Run the collection headlessly: a process per notebook, a few at a time, one table and one table of claims at the end.

`python -m entropy_utils run` is the way in. A notebook that dies takes no other with it; `resume` keeps every run whose
card is whole and says the same code, seed and versions; Ctrl-C stops the kernels and leaves what is done.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from entropy_utils.lab.catalogue import COLLECTION, PROFILES, Catalogue, Notebook
from entropy_utils.lab.errors import BrokenFile, ParameterError
from entropy_utils.lab.execute import RunCard, card_path, claims_path, inputs, load_claims, write

ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMBA_NUM_THREADS",
    )
}
INTERRUPTED = 130


class Runner:
    """The settings of one run, checked: `ParameterError` or `BrokenFile` in one line for what cannot be used.

    `out` defaults to build/runs/<profile>, `collection` to ``$ENTROPY_COLLECTION`` or the package's catalogue,
    `notebooks` is the folder of the notebooks.
    """

    def __init__(
        self,
        profile: str = "smoke",
        only: tuple[str, ...] = (),
        seed: int = 0,
        out: Path | None = None,
        collection: Path | None = None,
        notebooks: Path = Path("notebooks"),
    ):
        if profile not in PROFILES:
            raise ParameterError.of("profile", profile, " or ".join(PROFILES))
        if not 0 <= seed < 2**31:
            raise ParameterError.of("seed", seed, f"integer from 0 to {2**31 - 1}")
        if not notebooks.is_dir():
            raise ParameterError.of(
                "notebooks", str(notebooks), "the folder of the notebooks (run from the project's root)"
            )
        self.collection = Path(collection or os.environ.get("ENTROPY_COLLECTION", COLLECTION)).resolve()
        self.catalogue = Catalogue.load(self.collection)
        written = [notebook.id for notebook in self.catalogue.notebooks if notebook.status == "written"]
        for id in only:
            if id not in written:
                state = "planned, not written" if self.catalogue.notebook(id).status == "planned" else "unknown"
                raise ParameterError(f"only: notebook '{id}' is {state}; written: {', '.join(written) or 'none'}")
        self.profile, self.seed, self.folder = profile, seed, notebooks
        self.out = out or Path("build/runs") / profile
        self.chosen = [notebook for notebook in self.catalogue.notebooks if not only or notebook.id in only]
        self.written = [notebook for notebook in self.chosen if notebook.status == "written"]

    def source(self, notebook: Notebook) -> Path:
        return self.folder / notebook.file

    def reason(self, notebook: Notebook) -> str | None:
        """Why a notebook has to run, None if the run that is there is whole, completed and of the present code."""
        try:
            card = RunCard.load(self.out, notebook.id)
        except BrokenFile as error:
            return str(error)
        if card.status != "completed":
            return "failed last time"
        if card.profile != self.profile:
            return f"stale: was run at profile {card.profile}"
        stale = [
            name
            for name, value in inputs(notebook, self.source(notebook), self.seed).items()
            if getattr(card, name) != value
        ]
        return f"stale: {', '.join(stale)} changed" if stale else None

    def run(self, resume: bool = False, jobs: int = 2, console: Console | None = None) -> int:
        """Execute the notebooks and report; returns 0, 1 (a notebook or a claim failed) or 130 (interrupted)."""
        if jobs < 1:
            raise ParameterError.of("jobs", jobs, "integer from 1")
        console = console or make_console()
        for notebook in self.written:  # a notebook that cannot be read is said before anything runs
            inputs(notebook, self.source(notebook), self.seed)
        todo = []
        for notebook in self.written:
            why = self.reason(notebook) if resume else "asked for"
            if why:
                todo.append(notebook)
                for path in (card_path(self.out, notebook.id), claims_path(self.out, notebook.id)):
                    path.unlink(missing_ok=True)
            if resume:
                say(console, f"{notebook.id}: runs, {why}" if why else f"{notebook.id}: kept")
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            self._work(sorted(todo, key=self._minutes, reverse=True), jobs, console)
        except KeyboardInterrupt:
            say(console, "interrupted: kernels stopped, finished notebooks kept; --resume runs the rest")
            self.report(console)
            return INTERRUPTED
        finally:
            signal.signal(signal.SIGTERM, previous)
        return self.report(console)

    def _minutes(self, notebook: Notebook) -> float:
        return notebook.minutes.get(self.profile, 0)

    def _work(self, todo: list[Notebook], jobs: int, console: Console) -> None:
        """Keep `jobs` workers busy until all is done; whatever ends this early stops them."""
        waiting, running = list(todo), []
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    notebook = waiting.pop(0)
                    running.append((notebook, self._start(notebook, jobs)))
                    say(console, f"{notebook.id}: started")
                time.sleep(0.1)
                for pair in [pair for pair in running if pair[1].poll() is not None]:
                    running.remove(pair)
                    self._finish(*pair, console)
        finally:
            stop([worker for _, worker in running])

    def _start(self, notebook: Notebook, jobs: int) -> subprocess.Popen:
        job = {
            "collection": str(self.collection),
            "notebook": notebook.id,
            "source": str(self.source(notebook)),
            "out": str(self.out),
            "profile": self.profile,
            "seed": self.seed,
            "jobs": jobs,
        }
        offline = {} if self.profile == "hub" else {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / f"{notebook.id}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "entropy_utils.lab.execute", json.dumps(job)],
                env={**os.environ, **ONE_THREAD, **offline, "ENTROPY_COLLECTION": str(self.collection)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the workers
            )

    def _finish(self, notebook: Notebook, worker: subprocess.Popen, console: Console) -> None:
        try:
            card = RunCard.load(self.out, notebook.id)
            say(
                console,
                f"{notebook.id}: {card.status} in {card.wall_s:.0f} s" + (f": {card.error}" if card.error else ""),
            )
        except BrokenFile:
            log = self.out / f"{notebook.id}.log"
            say(
                console,
                f"{notebook.id}: its worker ended with code {worker.returncode} and left no run card; see {log}",
            )

    def report(self, console: Console) -> int:
        """Print both tables and write claims.json from what lies in `out`; 0 if it is all as it should be, else 1."""
        table = Table(
            "notebook", "title", "status", "time", "memory", "cells", "claims", title=f"profile {self.profile}"
        )
        rows, problems = [], []
        for notebook in self.chosen:
            if notebook.status == "planned":
                table.add_row(notebook.id, notebook.title, "planned", *[""] * 4)
                continue
            try:
                card, found = RunCard.load(self.out, notebook.id), load_claims(self.out, notebook.id)
            except BrokenFile as error:
                table.add_row(notebook.id, notebook.title, "no result", *[""] * 4)
                problems.append(f"{notebook.id}: {error}")
                continue
            rows += found
            if card.status != "completed":
                problems.append(f"{notebook.id}: failed: {card.error}")
            table.add_row(
                notebook.id,
                notebook.title,
                card.status,
                f"{card.wall_s:.0f} s",
                f"{card.peak_memory_bytes / 2**20:.0f} MiB",
                f"{card.cells_completed}/{card.cells}",
                ", ".join(f"{number} {verdict}" for verdict, number in card.claims.items()),
            )
        console.print(table)
        console.print(claims_table(rows))
        problems += [f"{row['id']}: {row['verdict']}: {row['shown'] or 'no value'}" for row in rows if row["fails"]]
        for problem in problems:
            say(console, problem)
        counts = Counter(row["verdict"] for row in rows)
        say(console, f"{len(rows)} claims: {', '.join(f'{n} {verdict}' for verdict, n in counts.items()) or 'none'}")
        self.collect_claims()
        return 1 if problems else 0

    def collect_claims(self) -> None:
        """Write claims.json: the claims of every notebook of the collection whose run is whole."""
        rows = []
        for notebook in self.catalogue.notebooks:
            with suppress(BrokenFile):
                RunCard.load(self.out, notebook.id)
                rows += load_claims(self.out, notebook.id)
        write(self.out / "claims.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def claims_table(rows: list[dict]) -> Table:
    """All claims with their numbers, one per row."""
    table = Table("claim", "what it says", "expected", "ours", "verdict", title="claims")
    style = {"reproduced": "green", "not testable here": "dim"}
    for row in rows:
        verdict = f"{row['verdict']}: {row['note']}" if row["note"] else row["verdict"]
        table.add_row(
            row["id"], row["says"], row["expected"], row["shown"], verdict, style=style.get(row["verdict"], "red")
        )
    return table


def make_console() -> Console:
    """A terminal as wide as it is; anything else (a log) gets 140 columns."""
    return Console(width=None if sys.stdout.isatty() else 140)


def say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def stop(workers) -> None:
    """End workers and everything they started, kernels first asked, then killed after 3 s."""
    family = []
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(worker.pid)
            family += [parent, *parent.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(family, timeout=3)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _interrupt(*_) -> None:
    raise KeyboardInterrupt
