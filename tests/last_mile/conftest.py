"""The real sample of the challenge's data, where the environment has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entropy_utils.lab.data import locate


@pytest.fixture(scope="session")
def sample() -> Path:
    """Folder of the small real sample (13 routes; tables of Los Angeles and Austin)."""
    if not os.environ.get("ENTROPY_DATA_DIR"):
        pytest.skip("real sample of the challenge: ENTROPY_DATA_DIR is not set")
    return locate("almrrc")
