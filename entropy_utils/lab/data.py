"""Third-party data sets: where they lie on this machine, and how to get them. Nothing here goes online by itself.

`locate` looks in ``$ENTROPY_DATA_DIR``, then in ``data/cache`` of the project; `fetch` downloads into the latter what
can be downloaded. Every file is checked against the sha256 in ``data/registry.toml``.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path

from entropy_utils.lab.errors import BrokenFile, DataUnavailable, ParameterError

DATA = Path(__file__).parents[2] / "data"


def registry() -> dict[str, dict]:
    """Every known data set: title, source, licence, cite, folder and files (path, bytes, sha256, perhaps url)."""
    path = DATA / "registry.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BrokenFile(f"data/{path.name}: {error}") from None


def locate(name: str, file: str | None = None) -> Path:
    """The folder of a data set with all its files whole, or the path of one file of it.

    Raises `DataUnavailable` naming what is missing or damaged, the source, size, licence and the folder to fill.
    """
    entry, files = _entry(name, file)
    problems = []
    for folder in _folders(entry):
        wrong = [problem for known in files if (problem := _problem(folder, known))]
        if not wrong:
            return folder / file if file else folder
        problems.append(f"{folder}: {wrong[0]}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""))
    size = sum(known["bytes"] for known in files) / 1e6
    how = f"lab.data.fetch('{name}') gets it, or put" if all("url" in known for known in files) else "put"
    raise DataUnavailable(
        f"data set '{name}' is not here ({'; '.join(problems)}). Source: {entry['source']}; {size:.2g} MB; licence: "
        f"{entry['licence']}; {how} the files into {_folders(entry)[0]}"
    )


def fetch(name: str) -> Path:
    """Download the files of a data set that have an address into data/cache, after printing licence and citation.

    Files that are whole already are kept. Returns the folder; what has to be put there by hand is printed. Raises
    `DataUnavailable` if a download fails or is not what the registry says.
    """
    import pooch

    entry, files = _entry(name, None)
    folder = _folders(entry)[-1]
    print(f"{entry['title']}\nSource: {entry['source']}\nLicence: {entry['licence']}\nPlease cite: {entry['cite']}")
    for known in files:
        target = folder / known["path"]
        if _problem(folder, known) is None:
            continue
        if "url" not in known:
            print(f"by hand: {known['path']} into {folder}")
            continue
        try:
            pooch.retrieve(known["url"], f"sha256:{known['sha256']}", fname=target.name, path=target.parent)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataUnavailable(f"data set '{name}': {known['url']} could not be fetched ({reason})") from None
    return folder


def _entry(name: str, file: str | None) -> tuple[dict, list[dict]]:
    known = registry()
    if name not in known:
        raise ParameterError.of("data set", name, ", ".join(known))
    files = known[name]["file"]
    if file is None:
        return known[name], files
    chosen = [item for item in files if item["path"] == file]
    if not chosen:
        raise ParameterError.of("file", file, ", ".join(item["path"] for item in files))
    return known[name], chosen


def _folders(entry: dict) -> list[Path]:
    """Where a data set may lie: under $ENTROPY_DATA_DIR if that is set, and in the cache of the project."""
    own = os.environ.get("ENTROPY_DATA_DIR")
    return [Path(root) / entry["folder"] for root in ([own] if own else []) + [DATA / "cache"]]


def _problem(folder: Path, known: dict) -> str | None:
    """What is wrong with a file, None if nothing."""
    path = folder / known["path"]
    if not path.is_file():
        return f"{known['path']} missing"
    if path.stat().st_size != known["bytes"]:
        return f"{known['path']} has {path.stat().st_size} bytes instead of {known['bytes']}"
    if hashlib.sha256(path.read_bytes()).hexdigest() != known["sha256"]:
        return f"{known['path']} has a wrong checksum"
    return None
