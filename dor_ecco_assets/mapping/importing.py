"""Mapping factors that ECCO-Dataset-Production stored level by level, read and held against ours.

It stores one sparse operator per depth level, ``sparse/sparse_matrix_<k>.npz``, in compressed rows
with a row per *wet* source cell and a column per target. Our factors hold the same mapping without
depth (nearest source and bins), which such operators do not determine: a target that is dry at
every level has no entry in any. So they are compared, weight by weight, not converted.
"""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dor_ecco_assets.errors import ConfigurationError, GridMismatch, InputMissing, InputUnusable
from dor_ecco_assets.mapping.factors import MappingFactors, level_weights

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["LevelComparison", "compare_factors", "read_sparse_level", "sparse_levels"]

#: How far a weight may be from ours, and a target's weights from a sum of 1.
WEIGHT_TOLERANCE = 1e-12

_NAME = re.compile(r"sparse_matrix_(\d+)\.npz")
#: First bytes of an xz file, in which ECCO-Dataset-Production keeps pickles.
_XZ = b"\xfd7zXZ"


@dataclass(frozen=True)
class LevelComparison:
    """How the operator of one level compares with ours.

    Parameters
    ----------
    level : int
    wet_sources, wet_targets, weights : int
        Of the stored operator.
    different : int
        Targets whose sources or weights are not ours.
    first : int or None
        The first of them.
    largest_difference : float
        Of a weight, where the sources are the same.
    """

    level: int
    wet_sources: int
    wet_targets: int
    weights: int
    different: int
    first: int | None
    largest_difference: float

    def as_row(self) -> dict[str, Any]:
        """One row of a table."""
        found = "equal"
        if self.different:
            found = f"{self.different} targets differ, first {self.first}"
        return {
            "level": self.level,
            "wet_sources": self.wet_sources,
            "wet_targets": self.wet_targets,
            "weights": self.weights,
            "largest_difference": self.largest_difference,
            "found": found,
        }


def sparse_levels(folder: Path) -> dict[int, Path]:
    """Stored operators by depth level.

    Parameters
    ----------
    folder : Path
        The folder of the mapping factors, or its ``sparse`` folder.

    Raises
    ------
    InputMissing
        Code ``MissingInput``, if there is none.
    """
    for place in (folder / "sparse", folder):
        found = {
            int(name[1]): path
            for path in sorted(place.glob("sparse_matrix_*.npz"))
            if (name := _NAME.fullmatch(path.name)) is not None
        }
        if found:
            return dict(sorted(found.items()))
    raise InputMissing(
        f"{folder} has no sparse/sparse_matrix_<level>.npz; pickles (.xz) are not read, write the "
        "sparse operators with ECCO-Dataset-Production first",
        code="MissingInput",
    )


def read_sparse_level(path: Path, wet: NDArray[np.bool_], n_target: int) -> "csr_array":
    """Read one operator and turn it the way ours are.

    Parameters
    ----------
    path : Path
    wet : ndarray of bool, shape (n_source,)
        Wet mask of the level.
    n_target : int

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (n_target, n_source)
        Indices in ascending order in each row.

    Raises
    ------
    InputUnusable
        Code ``Pickle``: the file is, or holds, pickled objects, which could run any program; code
        ``NotSparse``: it is no compressed sparse row matrix, or its arrays contradict each other;
        code ``RowSums``: weights of a target do not add up to 1.
    GridMismatch
        Code ``FactorsMismatch``: its shape is not that of this grid and this wet mask.
    """
    from scipy.sparse import csr_array

    stored = _arrays(path)
    shape = tuple(int(size) for size in np.ravel(stored["shape"]))
    n_wet = int(np.count_nonzero(wet))
    if shape != (n_wet, n_target):
        raise GridMismatch(
            f"{path} has shape {shape}, expected ({n_wet}, {n_target}): wet source cells of this "
            "level and targets; it was made for another grid, wet mask or resolution",
            code="FactorsMismatch",
        )
    data, indices, indptr = (stored[name] for name in ("data", "indices", "indptr"))
    sound = (
        indptr.shape == (n_wet + 1,)
        and data.shape == indices.shape == (int(indptr[-1]),)
        and indptr[0] == 0
        and bool(np.all(np.diff(indptr) >= 0))
        and (not indices.size or (int(indices.min()) >= 0 and int(indices.max()) < n_target))
        and bool(np.isfinite(data).all())
    )
    if not sound:
        raise _not_sparse(
            path, "its arrays contradict each other or hold values that are no weights"
        )
    source = np.repeat(np.flatnonzero(wet), np.diff(indptr))
    operator = csr_array((data.astype(np.float64), (indices, source)), shape=(n_target, wet.size))
    operator.sum_duplicates()
    operator.sort_indices()
    sums = operator.sum(axis=1)
    wet_target = np.diff(operator.indptr) > 0
    off = np.flatnonzero(wet_target & (np.abs(sums - 1) > WEIGHT_TOLERANCE))
    if off.size:
        raise InputUnusable(
            f"{path}: the weights of {off.size} targets do not add up to 1, first target {off[0]} "
            f"with {sums[off[0]]:.6g}; the file is broken or no mean: make it again",
            code="RowSums",
            uri=str(path),
        )
    return operator


def compare_factors(folder: Path, factors: MappingFactors) -> list[LevelComparison]:
    """Hold every stored operator against ours.

    Parameters
    ----------
    folder : Path
    factors : MappingFactors
        Of the same grids.

    Returns
    -------
    list of LevelComparison
        One per stored level; a weight within 1e-12 of ours is equal.

    Raises
    ------
    InputMissing, InputUnusable, GridMismatch
        As `sparse_levels` and `read_sparse_level`.
    ConfigurationError
        Code ``LevelUnknown``: a file is of a level that our factors do not have.
    """
    found = sparse_levels(folder)
    deepest = max(found)
    if deepest >= factors.n_levels:
        raise ConfigurationError(
            f"{found[deepest]} is of level {deepest}; the factors have 0 to {factors.n_levels - 1}",
            code="LevelUnknown",
        )
    return [_compare(level, path, factors) for level, path in found.items()]


def _compare(level: int, path: Path, factors: MappingFactors) -> LevelComparison:
    wet = factors.wet[level]
    theirs = read_sparse_level(path, wet, factors.n_target)
    ours = level_weights(factors, level)
    ours.sort_indices()
    same = np.diff(theirs.indptr) == np.diff(ours.indptr)
    difference = abs(theirs - ours).tocoo()
    # An entry that only one of the two has is as large as its weight, far above the tolerance.
    off = difference.coords[0][difference.data > WEIGHT_TOLERANCE]
    same[off] = False
    different = np.flatnonzero(~same)
    shared = same[difference.coords[0]]
    return LevelComparison(
        level=level,
        wet_sources=int(np.count_nonzero(wet)),
        wet_targets=int(np.count_nonzero(np.diff(theirs.indptr))),
        weights=int(theirs.nnz),
        different=int(different.size),
        first=int(different[0]) if different.size else None,
        largest_difference=float(difference.data[shared].max(initial=0.0)),
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a sparse matrix in compressed rows, nothing unpickled."""
    with path.open("rb") as file:
        start = file.read(len(_XZ))
    if start == _XZ or path.suffix == ".xz":
        raise InputUnusable(
            f"{path} is a compressed pickle, which could run any program when read; use the "
            "sparse_matrix_<level>.npz beside it",
            code="Pickle",
            uri=str(path),
        )
    needed = ("data", "indices", "indptr", "shape", "format")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in needed if name not in archive.files]
            if missing:
                raise _not_sparse(path, f"it has no {', '.join(missing)}")
            stored = {name: archive[name] for name in needed}
    except ValueError as error:
        if "pickle" not in str(error):
            raise _not_sparse(path, str(error)) from error
        raise InputUnusable(
            f"{path} holds pickled objects, which could run any program when read; save it again "
            "with scipy.sparse.save_npz",
            code="Pickle",
            uri=str(path),
        ) from error
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise _not_sparse(path, str(error)) from error
    kind = stored["format"].item()
    if kind not in (b"csr", "csr"):
        raise _not_sparse(path, f"its format is {kind!r}, expected csr")
    return stored


def _not_sparse(path: Path, why: str) -> InputUnusable:
    return InputUnusable(
        f"{path} is no sparse matrix in compressed rows: {why}; fetch or make it again",
        code="NotSparse",
        uri=str(path),
    )
