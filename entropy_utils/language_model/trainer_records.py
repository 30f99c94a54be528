"""A `transformers.Trainer` as a generator: records while it trains, an end when its reader has had enough."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch


def trainer_records(
    trainer: Any, records: Callable[[int, dict[str, Any]], Iterable[dict]], checkpoint: str | None = None
) -> Iterator[dict]:
    """Train in a thread of its own and pass its records on; what goes wrong there is raised here.

    trainer: a `transformers.Trainer`; records(step, logs): what it makes of a log after so many updates. checkpoint: to
    resume from. When the generator is closed, training stops after its step.
    """
    from transformers import PrinterCallback, TrainerCallback

    found, stop, threads = queue.SimpleQueue(), threading.Event(), torch.get_num_threads()

    class Reporter(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            for record in records(state.global_step, logs or {}):
                found.put(record)

        def on_step_end(self, args, state, control, **_):
            control.should_training_stop |= stop.is_set()

    def train() -> None:
        torch.set_num_threads(threads)
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
            found.put(None)
        except BaseException as error:  # whatever it is, the reader gets it
            found.put(error)

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Reporter())
    worker = threading.Thread(target=train, name="training", daemon=True)
    worker.start()
    try:
        while (item := found.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        worker.join()
