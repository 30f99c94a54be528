"""Pictures of a published notebook become files of their own."""

from __future__ import annotations

import base64

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from entropy_utils.lab.publish import save_pictures


def shown(kind: str, image: bytes):
    data = {f"image/{kind}": base64.b64encode(image).decode(), "text/plain": "alt"}
    return new_output("display_data", data)


def cell(tag: str, *outputs):
    return new_code_cell("", outputs=[new_output("stream", text="words"), *outputs], metadata={"tags": [tag]})


@pytest.fixture
def nb():
    picture = cell("picture", shown("gif", b"other kind"), shown("png", b"still"), shown("png", b"second"))
    animation = cell("animation", shown("png", b"other kind"), shown("gif", b"moving"), shown("gif", b"second"))
    return new_notebook(cells=[cell("parameters", shown("png", b"no")), new_code_cell(""), picture, animation])


def test_the_first_picture_and_the_first_animation_are_kept(nb, tmp_path):
    save_pictures(nb, tmp_path / "pictures", "01")
    assert {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()} == {
        "01.png": b"still",
        "01.gif": b"moving",
    }


def test_no_picture_no_file(nb, tmp_path):
    save_pictures(new_notebook(cells=nb.cells[:2]), tmp_path / "pictures", "01")
    assert not list(tmp_path.iterdir())
    save_pictures(new_notebook(cells=nb.cells[:3]), tmp_path / "pictures", "01")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["01.png"]
