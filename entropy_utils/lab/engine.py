"""A papermill engine without the mimic of Output widgets.

nbclient mimics the front end's Output widget and sends on a socket that another task polls, so that cells with such
widgets stall at random. An empty widget registry cures it; text and figures then land as ordinary outputs of the cell.
Installed as papermill's engine `entropy` (``papermill --engine entropy in.ipynb out.ipynb``).
"""

from __future__ import annotations

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.log import logger

NAME = "entropy"


class Client(PapermillNotebookClient):
    """Papermill's client; widgets keep their state, but none is mimicked."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.widget_registry = {}


class Engine(NBClientEngine):
    """Executes a notebook with `Client`: cell limit `execution_timeout` and `iopub_timeout` in seconds. What a cell
    prints in pieces is stored as one output.
    """

    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, execution_timeout=None, start_timeout=60, iopub_timeout=60, log_output=False, **kwargs
    ):
        return Client(
            nb_man,
            kernel_name=kernel_name,
            timeout=execution_timeout,
            startup_timeout=start_timeout,
            iopub_timeout=iopub_timeout,
            log=logger,
            log_output=log_output,
            coalesce_streams=True,
            shutdown_kernel="immediate",  # all outputs are here; a kernel with children takes seconds to end by itself
        ).execute()


papermill_engines.register(NAME, Engine)
