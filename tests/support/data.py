"""Real data for tests: found through one environment variable, skipped where it is not set."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dor_ecco_assets.grids.llc_geometry import REQUIRED_FIELDS

VARIABLE = "DOR_ECCO_TEST_DATA"


def real_data(*parts: str) -> Path:
    """Path of a real file or folder; skips the calling test, saying why, where it is absent."""
    root = os.environ.get(VARIABLE)
    if not root:
        pytest.skip(f"{VARIABLE} is not set; it names the folder that holds the real data")
    path = Path(root, *parts)
    if not path.exists():
        pytest.skip(f"{path} is not there ({VARIABLE}={root})")
    return path


def llc90_fields() -> dict[str, NDArray[np.float64]]:
    """The real LLC90 grid under MITgcm's names: compact (1170, 90) fields and profiles."""
    return dict(_read_llc90(real_data("llc90")))


@cache
def _read_llc90(folder: Path) -> dict[str, NDArray[np.float64]]:
    fields: dict[str, NDArray[np.float64]] = {}
    for name in REQUIRED_FIELDS:
        values = np.fromfile(folder / f"{name}.data", ">f8").astype(np.float64)
        fields[name] = values.reshape(1170, 90) if values.size == 1170 * 90 else values
    return fields
