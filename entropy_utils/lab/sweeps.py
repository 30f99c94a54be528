"""Many experiments side by side on dask.distributed: on the cores of this machine, or on a cluster.

Every run is a process of one thread that is started anew if it is killed, and in a directory every finished run is kept:
a sweep that was broken off goes on where it was.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import logging
import math
import os
import pickle
import re
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import entropy_utils
from entropy_utils.lab.errors import BrokenFile, ParameterError
from entropy_utils.lab.experiment import Experiment, History, collect

if TYPE_CHECKING:
    from distributed import Client

TRIES = 3  # of a run whose worker is killed each time
LINES = 20  # of progress at most, besides those of failed runs
START_S = 600  # within which a local worker has to be there, however busy the machine
ANSWER_S = 5  # within which a scheduler has to answer
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
# Of glibc: memory that a step frees is there for the next one, also in the threads that runs are in.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_ARENA_MAX": "1"}
FORKS = sys.platform == "linux"  # elsewhere a fork is not safe, or there is none
# Slow to import, and nobody edits them: what the caller has loaded of these, the workers to come share.
SLOW = ("distributed", "pandas", "torch", "numba", "sklearn.datasets", "datasets", "transformers")
PACKAGE = Path(entropy_utils.__file__).parent


class SweepError(RuntimeError):
    """Some runs failed: `errors` says why, by name; `histories` holds those that did not."""

    def __init__(self, errors: dict[str, Exception], histories: dict[str, History]):
        causes = "; ".join(f"{_shown(name)} ({_line(error)})" for name, error in errors.items())
        super().__init__(f"{len(errors)} of {len(errors) + len(histories)} experiments failed: {causes}")
        self.errors, self.histories = errors, histories


def sweep(
    experiments: Mapping[str, Experiment] | type[Experiment] | Experiment,
    grid: Mapping[str, Iterable] | None = None,
    seeds: Iterable[int] | None = None,
    profile: str = "laptop",
    *,
    directory: str | Path | None = None,
    workers: int | None = None,
    **fixed: Any,
) -> dict[str, History]:
    """Run named experiments, or those of a grid (see `experiment_grid`), side by side; their histories as ordered there.

    The runs get `workers` processes of this machine, one per core unless told otherwise, or the cluster that
    ``$DASK_SCHEDULER_ADDRESS`` names (`workers` then says nothing). A line is printed as each one ends, or as every few
    end if there are many.

    With a `directory`, every finished run is written there in one step, and a run that is there already, whole and of the
    same parameters and code, is loaded and not run again. Several sweeps may share a directory.

    A run whose worker is killed starts again on a new one, `TRIES` times at most. If runs fail, the others are finished
    first; then one `SweepError` names the failed ones with their causes. An interrupt ends the workers at once; whatever
    ends this process ends them too. Wrong parameters are a `ParameterError` before anything starts.
    """
    if not isinstance(experiments, Mapping):
        experiments = experiment_grid(experiments, grid, seeds, profile, **fixed)
    elif grid is not None or seeds is not None or profile != "laptop" or fixed:
        raise ParameterError("grid, seeds, profile and fields: allowed with one experiment, not with a mapping of them")
    for name, experiment in experiments.items():
        if not isinstance(experiment, Experiment):
            raise ParameterError.of(f"experiments[{name!r}]", experiment, "an Experiment with its parameters")
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ParameterError.of("workers", workers, "integer from 1")
    done, errors, start = {}, {}, time.perf_counter()
    for kind in {type(one) for one in experiments.values()}:
        with suppress(ParameterError):
            _own_code(kind)  # what it keeps cannot be read any more once a class has been sent to a worker
    if directory is not None:
        directory, code = _folder(directory), _package_code()
        own = {name: _own_code(type(experiment)) for name, experiment in experiments.items()}
        kept = {name: _kept(directory / _file(one, own[name], code), one) for name, one in experiments.items()}
        done = {name: history for name, history in kept.items() if history}
        print(f"{len(done)} of {len(experiments)} loaded from {directory}", flush=True)
    missing = {name: experiment for name, experiment in experiments.items() if name not in done}
    with closing(_run_all(missing, workers)) as ended:
        for number, (name, outcome) in enumerate(ended, 1):
            if isinstance(outcome, Exception):
                errors[name] = outcome
                end = f"failed, {_line(outcome)}"
            else:
                found, code = outcome
                done[name] = History(experiment=experiments[name], **found)
                if directory is not None:
                    done[name].save(directory / _file(experiments[name], own[name], code))
                end = f"{len(done[name].records)} records, {done[name].wall_s:.0f} s"
            remaining = len(missing) - number
            left = f", about {(time.perf_counter() - start) / number * remaining:.0f} s left" if remaining else ""
            if name in errors or not remaining or number % -(-len(missing) // LINES) == 0:
                print(f"{_shown(name)}: {end} ({number} of {len(missing)}{left})", flush=True)
    histories = {name: done[name] for name in experiments if name in done}
    if errors:
        raise SweepError(errors, histories) from next(iter(errors.values()))
    return histories


def experiment_grid(
    experiment: type[Experiment] | Experiment,
    grid: Mapping[str, Iterable] | None = None,
    seeds: Iterable[int] | None = None,
    profile: str = "laptop",
    **fixed: Any,
) -> dict[str, Experiment]:
    """Every combination of the values that `grid` lists for some fields, and of `seeds`, as named experiments.

    `experiment` is a class (then taken at `profile`) or an experiment whose other fields are kept; `fixed` fields are the
    same in all. The last field varies fastest; names tell what varies: ``lr=0.001 seed=3``.
    """
    if not isinstance(experiment, Experiment) and not (isinstance(experiment, type) and issubclass(experiment, Experiment)):
        raise ParameterError.of("experiment", experiment, "an Experiment, a class of them or a mapping of named ones")
    axes = dict(grid or {}) | ({} if seeds is None else {"seed": seeds})
    for field, values in axes.items():
        if not isinstance(values, Iterable) or isinstance(values, (str, Mapping)):
            raise ParameterError.of(field, values, "a list of values")
        if field in fixed or (seeds is not None and field in (grid or {}) and field == "seed"):
            raise ParameterError(f"field '{field}': given twice, allowed: one list of values or one value")
        axes[field] = list(values)
    base = experiment.profile(profile, **fixed) if isinstance(experiment, type) else experiment.replace(**fixed)
    found = {}
    for values in itertools.product(*axes.values()):
        changes = dict(zip(axes, values, strict=True))
        made = base.replace(**changes)
        shown = {field: value if isinstance(value, str) else getattr(made, field) for field, value in changes.items()}
        name = " ".join(f"{field}={value}" for field, value in shown.items()) or type(base).__name__
        if name in found:
            raise ParameterError(f"grid: {name} comes up twice, allowed: different values")
        found[name] = made
    return found


def _shown(name: Any) -> str:
    """The name of a run in messages; a tuple as its parts."""
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _run_all(experiments: Mapping[str, Experiment], workers: int | None) -> Iterator[tuple[str, Any]]:
    """The name of every run as it ends, with what `_run` returned or the exception that it ended with."""
    if not experiments:
        return
    variables = dict(os.environ) | ONE_THREAD | KEEP_MEMORY
    if FORKS and not os.environ.get("DASK_SCHEDULER_ADDRESS"):
        _start_server()  # it loads libraries while we load dask
    import cloudpickle
    from dask.system import CPU_COUNT
    from distributed import KilledWorker, as_completed

    waiting, names, tries = deque(experiments), {}, Counter()
    with _cluster(min(workers or CPU_COUNT, len(experiments))) as (client, local):
        environment = variables if local else None
        running = as_completed(loop=client.loop)
        while waiting or running.count():
            free = waiting and running.count() < (local or math.inf)
            if free and local:  # one run per worker: whoever dies takes no other run along
                client.wait_for_workers(running.count() + 1, timeout=START_S)
            ended = running.next_batch(block=not free)
            if free and not ended:  # and no result: what ended is fetched before its worker gets another run
                name = waiting.popleft()
                tries[name] += 1
                future = client.submit(_run, cloudpickle.dumps(experiments[name]), environment, pure=False)
                names[future.key] = name
                running.add(future)
            for future in ended:
                name = names[future.key]
                try:
                    outcome = future.result()
                except KilledWorker as error:
                    if local and tries[name] < TRIES:
                        print(f"{_shown(name)}: its worker was killed, starts again", flush=True)
                        waiting.appendleft(name)
                        continue
                    died = tries[name] if local else error.allowed_failures + 1
                    outcome = RuntimeError(f"its worker was killed {died} times (out of memory?)")
                except Exception as error:
                    outcome = error
                yield name, outcome


@contextmanager
def _cluster(workers: int) -> Iterator[tuple[Client, int | None]]:
    """A client of the cluster in ``$DASK_SCHEDULER_ADDRESS``, else of fresh local workers, which end with the block.

    With it the number of local workers, None for a cluster: that shares out all runs and repeats them as it is set up to.
    """
    import dask
    from distributed import Client, LocalCluster
    from distributed.utils import silence_logging_cmgr

    if address := os.environ.get("DASK_SCHEDULER_ADDRESS"):
        try:
            client = Client(address, timeout=ANSWER_S, set_as_default=False)
        except (OSError, ValueError):
            allowed = f"the address of a dask scheduler that answers within {ANSWER_S} s"
            raise ParameterError.of("DASK_SCHEDULER_ADDRESS", address, allowed, "variable") from None
        with client:
            yield client, None
        return
    settings = {
        "distributed.scheduler.allowed-failures": 0,  # we count: dask counts a death against all that the worker was given
        "distributed.comm.timeouts.connect": START_S,
        "distributed.scheduler.worker-ttl": None,  # a run may keep its worker from answering as long as it likes
        "distributed.worker.profile.enabled": False,  # nobody looks at what dask measures of itself, and each of the three
        "distributed.admin.tick.interval": "1s",  # would wake every process all the time
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.nanny.pre-spawn-environ": ONE_THREAD | KEEP_MEMORY,  # dask's own threshold doubles the time
        "distributed.worker.multiprocessing-method": "forkserver" if FORKS else "spawn",
    }
    here = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # a port that nobody else has, and no dashboard on it
    silent = logging.CRITICAL + 1
    with (
        _spawning(),
        dask.config.set(settings),
        silence_logging_cmgr(silent),  # outlasts the cluster: killed workers are complained about late
        LocalCluster(
            n_workers=0, threads_per_worker=1, memory_limit=0, silence_logs=silent, scheduler_kwargs=here
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        try:
            cluster.scale(workers)
            yield client, workers
        finally:
            for nanny in cluster.workers.values():
                nanny.auto_restart = False
                if nanny.pid:
                    with suppress(ProcessLookupError):
                        os.kill(nanny.pid, signal.SIGKILL)


def _start_server() -> None:
    """Start the process that local workers are forked from, if it is not there yet. It stays as long as this one."""
    from multiprocessing import forkserver

    with _spawning():
        os.environ.update(KEEP_MEMORY)  # glibc reads it when a program starts
        forkserver.set_forkserver_preload([name for name in SLOW if name in sys.modules or name == "distributed"])
        forkserver.ensure_running()


@contextmanager
def _spawning() -> Iterator[None]:
    """The state in which workers are spawned: they inherit one thread each, and do not run the caller's script again.

    multiprocessing would run the file or module of ``__main__`` in every worker, so that a script without a guard would
    start sweeps without end. Classes of the script travel by value instead.
    """
    before, main = dict(os.environ), sys.modules["__main__"]
    names = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).update(dict.fromkeys(names))
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        vars(main).update(names)
        for name in os.environ.keys() - before:  # dask's own are among them
            del os.environ[name]
        os.environ.update(before)


def _run(pickled: bytes, environment: dict[str, str] | None) -> tuple[dict[str, Any], str]:
    """In a worker: what the history of an experiment holds besides the experiment, and the hash of the code that ran it.

    `environment` are all variables of a local worker: the server that it was forked from knows those of the first sweep.
    """
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    code = _code_at_start()
    experiment = pickle.loads(pickled)
    os.environ.update(ONE_THREAD)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # its own, whatever was forked
    with suppress(OSError):  # Linux: the peak memory of this run, not of an earlier one in this process
        Path("/proc/self/clear_refs").write_text("5")
    history = vars(collect(experiment, progress=False))
    with suppress(OSError):
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        history["peak_memory_bytes"] = int(peak[1]) * 1024
    return {name: value for name, value in history.items() if name != "experiment"}, code


def _folder(directory: str | Path) -> Path:
    """The directory, made if it is missing; `ParameterError` if nothing can be written there."""
    directory = Path(directory)
    with suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    if not (directory.is_dir() and os.access(directory, os.W_OK)):
        raise ParameterError.of("directory", str(directory), "a folder that can be written")
    return directory


def _file(experiment: Experiment, own: list[str], code: str) -> str:
    """The name of a history's file: class and seed to read, and a hash of all that decides the result."""
    kind = type(experiment)
    decides = [kind.__module__, kind.__qualname__, experiment.model_dump(mode="json"), own, code]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return f"{kind.__name__}-seed{experiment.seed}-{key}.json"


def _kept(path: Path, experiment: Experiment) -> History | None:
    """The history in a file, None if there is none or it is damaged."""
    try:
        history = History.load(path)
    except BrokenFile:
        return None
    history.experiment = experiment
    return history if history.completed else None


def _package_code() -> str:
    """Hash of the package's version and sources, but not of the lab's: the lab runs and shows experiments, all that
    decides a record lies in the other rooms. Which of them one experiment needs is not asked: too old is never kept.
    """
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "lab")
    texts = [f"{path.relative_to(PACKAGE)}\n".encode() + path.read_bytes() for path in paths]
    return hashlib.sha256(b"".join([entropy_utils.__version__.encode(), *texts])).hexdigest()


_code_at_start = functools.cache(_package_code)  # of a worker: what it has loaded, whatever is edited while it runs


def _own_code(kind: type[Experiment]) -> list[str]:
    """The sources of an experiment from elsewhere: the modules of its classes; of a script or notebook the class alone."""
    texts = []
    for part in kind.__mro__:
        if not issubclass(part, Experiment) or part.__module__.partition(".")[0] == "entropy_utils":
            continue
        script = part.__module__ == "__main__"  # in which other lines say what to run
        try:
            texts.append(_text_of(part) if script else inspect.getsource(sys.modules.get(part.__module__)))
        except (OSError, TypeError):
            allowed = "allowed: classes of a file"
            raise ParameterError(f"directory: the source of {part.__qualname__} cannot be read, {allowed}") from None
    return texts


@functools.cache  # some versions of cloudpickle take the file's name from a class of a script that they have seen
def _text_of(part: type[Experiment]) -> str:
    """The source of a class of a script or notebook; for the latter Python finds that of methods only."""
    with suppress(OSError, TypeError):
        return inspect.getsource(part)
    return inspect.getsource(part.run)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
