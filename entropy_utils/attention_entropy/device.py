"""Where to train: the field `device` of the experiments of this room."""

from __future__ import annotations

import torch

from entropy_utils.lab.errors import ParameterError


def chosen_device(name: str) -> str:
    """The device that ``auto``, ``cpu`` or ``cuda`` means here: ``auto`` is a GPU if there is one."""
    gpu = torch.cuda.is_available()
    if name == "cuda" and not gpu:
        raise ParameterError.of("device", name, "'auto' or 'cpu' on this machine, torch finds no GPU")
    return ("cuda" if gpu else "cpu") if name == "auto" else name
