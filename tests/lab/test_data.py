"""Data sets are found, checked to the byte, and fetched only when asked; what is missing is named with its licence."""

import hashlib
import http.server
import os
import threading
from pathlib import Path

import pytest

from entropy_utils.lab import DataUnavailable, ParameterError, data

SHARED = Path(os.environ.get("ENTROPY_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data")
CONTENT = {"a.csv": b"x,y\n1,2\n", "deep/b.json": b"{}"}


@pytest.fixture
def server(tmp_path):
    """A local web server with the two files; its address and what was asked of it."""
    root, asked = tmp_path / "web", []
    for name, content in CONTENT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=root)

        def log_message(self, *args):
            asked.append(self.path)

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}", asked, root
    running.shutdown()
    running.server_close()


@pytest.fixture
def known(tmp_path, monkeypatch, server):
    """A registry with one set of two files, in an empty project without ENTROPY_DATA_DIR."""
    about = {
        "title": "Toy set",
        "source": "example.org/toy",
        "licence": "CC0",
        "cite": "Nobody",
        "folder": "toys",
    }
    text = "[toy]\n" + "".join(f'{key} = "{value}"\n' for key, value in about.items())
    for name, content in CONTENT.items():
        digest = hashlib.sha256(content).hexdigest()
        text += f'[[toy.file]]\npath = "{name}"\nbytes = {len(content)}\nsha256 = "{digest}"\n'
        text += f'url = "{server[0]}/{name}"\n'
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "registry.toml").write_text(text)
    monkeypatch.setattr(data, "DATA", tmp_path / "project")
    monkeypatch.delenv("ENTROPY_DATA_DIR", raising=False)
    return tmp_path / "project"


def fill(folder: Path) -> Path:
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_what_is_missing_is_named_with_source_size_licence_and_folder_and_nothing_is_fetched(known, server):
    with pytest.raises(DataUnavailable) as error:
        data.locate("toy")
    line = str(error.value)
    for part in (
        "'toy'",
        "a.csv missing and 1 more",
        "example.org/toy",
        "1e-05 MB",
        "licence: CC0",
        "lab.data.fetch('toy')",
    ):
        assert part in line
    assert str(known / "cache" / "toys") in line
    assert "\n" not in line
    assert isinstance(error.value, FileNotFoundError)
    assert server[1] == []


def test_the_users_folder_comes_before_the_cache(known, tmp_path, monkeypatch):
    cached = fill(known / "cache" / "toys")
    assert data.locate("toy") == cached
    monkeypatch.setenv("ENTROPY_DATA_DIR", str(tmp_path / "own"))
    assert data.locate("toy", "a.csv") == cached / "a.csv"
    own = fill(tmp_path / "own" / "toys")
    assert data.locate("toy") == own
    assert data.locate("toy", "deep/b.json") == own / "deep" / "b.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"x,y\n1,", "a.csv has 6 bytes instead of 8"), (b"x,y\n1,3\n", "a.csv has a wrong checksum")],
)
def test_a_damaged_file_is_named(known, content, message):
    folder = fill(known / "cache" / "toys")
    (folder / "a.csv").write_bytes(content)
    with pytest.raises(DataUnavailable, match=message):
        data.locate("toy")
    assert data.locate("toy", "deep/b.json")


def test_fetch_prints_the_licence_checks_the_files_and_keeps_whole_ones(known, server, capsys):
    assert data.fetch("toy") == known / "cache" / "toys" == data.locate("toy")
    printed = capsys.readouterr().out
    assert "CC0" in printed
    assert "Nobody" in printed
    asked = len(server[1])
    data.fetch("toy")
    assert len(server[1]) == asked
    (known / "cache" / "toys" / "a.csv").write_bytes(b"")
    data.fetch("toy")
    assert data.locate("toy", "a.csv").read_bytes() == CONTENT["a.csv"]


def test_a_download_that_is_wrong_or_fails_is_one_line(known, server):
    (server[2] / "a.csv").write_bytes(b"x,y\n9,9\n")
    with pytest.raises(DataUnavailable, match=r"^data set 'toy': http.*a\.csv could not be fetched \(V") as error:
        data.fetch("toy")
    assert "\n" not in str(error.value)
    (server[2] / "a.csv").unlink()
    with pytest.raises(DataUnavailable, match="404"):
        data.fetch("toy")


def test_unknown_names_list_the_known(known):
    with pytest.raises(ParameterError, match=r"field 'data set': got 'toys' \(str\), allowed: toy"):
        data.locate("toys")
    with pytest.raises(ParameterError, match=r"field 'file': got 'c\.csv'.*allowed: a\.csv, deep/b\.json"):
        data.locate("toy", "c.csv")


def test_the_registry_states_source_licence_and_citation_of_every_set():
    for entry in data.registry().values():
        assert all(entry[key].strip() for key in ("title", "source", "licence", "cite", "folder"))
        assert all(len(file["sha256"]) == 64 and file["bytes"] > 0 for file in entry["file"])


@pytest.mark.parametrize("name", ["almrrc", "clusters"])
def test_the_real_samples_are_whole(name, monkeypatch):
    if not SHARED.is_dir():
        pytest.skip("the samples lie neither beside the project nor in $ENTROPY_DATA_DIR")
    monkeypatch.setenv("ENTROPY_DATA_DIR", str(SHARED))
    assert data.locate(name) == SHARED / data.registry()[name]["folder"]
