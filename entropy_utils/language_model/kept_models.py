"""Small trained models on disk, so that they are trained once: one file of weights per model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

State = dict[str, Tensor]


def cache_directory(kind: str) -> Path:
    """Where trained models of a kind are kept: in $ENTROPY_CACHE_DIR, else in the user's cache directory."""
    import pooch

    return Path(os.environ.get("ENTROPY_CACHE_DIR") or pooch.os_cache("entropy_collection")) / kind


def kept_states(kind: str, names: Mapping[int, str], train: Callable[[list[int]], Sequence[State]]) -> dict[int, State]:
    """The state dicts of models, seed -> state, for `names`, seed -> name of its file; from the cache where they are.

    train: given the seeds that are missing there, their state dicts; these are kept. A damaged file counts as missing.
    """
    paths = {seed: cache_directory(kind) / f"{name}.safetensors" for seed, name in names.items()}
    missing = [seed for seed, path in paths.items() if not _whole(path)]
    for seed, state in zip(missing, train(missing) if missing else (), strict=True):
        paths[seed].parent.mkdir(parents=True, exist_ok=True)
        part = paths[seed].with_suffix(f".{os.getpid()}.part")
        save_file({name: tensor.cpu().contiguous() for name, tensor in state.items()}, part)
        part.replace(paths[seed])
    return {seed: load_file(path) for seed, path in paths.items()}


def code_hash(*modules: ModuleType) -> str:
    """Hash of the sources that decide a trained model: what an older version trained is not taken for this one's."""
    return hashlib.sha256(b"".join(Path(module.__file__).read_bytes() for module in modules)).hexdigest()


def _whole(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as kept:
            return bool(kept.keys())
    except (FileNotFoundError, SafetensorError):
        return False
