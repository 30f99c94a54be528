"""Several experiments at once, one process each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed

from entropy_utils.lab.experiment import Experiment, History, collect

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def collect_all(experiments: Mapping[str, Experiment], workers: int | None = None) -> dict[str, History]:
    """Run named experiments side by side, `workers` processes of one thread each (by default one per core).

    Returns the histories in the order given. A line is printed as each one ends. If some fail, the others are finished
    first; then one RuntimeError names those that failed, with `histories` holding the rest. A worker that is killed
    from outside takes those that have not ended with it, and they are named too. An interrupt ends the workers at once.
    """
    workers = min(workers or os.cpu_count() or 1, len(experiments)) or 1
    done, failed = {}, {}
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # the children inherit this
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_the_parent)
    try:
        names = {pool.submit(collect, experiment, False): name for name, experiment in experiments.items()}
        for future in as_completed(names):
            name = names[future]
            if error := future.exception():
                failed[name] = error
                print(f"{name}: failed, {type(error).__name__}: {error}")
            else:
                done[name] = future.result()
                print(f"{name}: {len(done[name].records)} records, {done[name].wall_s:.0f} s")
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    histories = {name: done[name] for name in experiments if name in done}
    if failed:
        error = RuntimeError(f"{len(failed)} of {len(experiments)} experiments failed: {', '.join(failed)}")
        error.histories = histories
        raise error from next(iter(failed.values()))
    return histories


def _end_with_the_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent does, however it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
