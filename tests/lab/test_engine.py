"""The papermill engine: installed under its name; output widgets neither stall a run nor swallow what is printed."""

from __future__ import annotations

from importlib.metadata import entry_points

import papermill
from papermill.engines import papermill_engines

from entropy_utils.lab import engine
from tests.throwaway import notebook

PRINT_INTO_WIDGET = """import ipywidgets
out = ipywidgets.Output()
display(out)
with out:
    print("inside", 1)"""


def test_papermill_finds_the_engine_by_name():
    (found,) = entry_points(group="papermill.engine", name=engine.NAME)
    assert found.load() is engine.Engine
    assert papermill_engines.get_engine(engine.NAME) is engine.Engine


def test_output_widgets_are_not_mimicked(tmp_path):
    path = notebook(tmp_path, "00", [PRINT_INTO_WIDGET] * 20, opened=False)
    nb = papermill.execute_notebook(
        str(path), str(tmp_path / "out.ipynb"), engine_name=engine.NAME, execution_timeout=10, progress_bar=False
    )
    cells = [cell for cell in nb.cells if "inside" in cell.source]
    assert len(cells) == 20
    for cell in cells:
        assert "inside 1\n" in [output.get("text") for output in cell.outputs]
        assert cell.metadata.papermill.duration < 5
