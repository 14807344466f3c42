"""A ledger as two arrays of a Zarr group: numbers to search by, and one line of JSON per granule.

Rows stay where they were first written, so that a new granule rewrites the last chunk of each array
and not the ledger.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dor_ecco_assets.lineage.ledger import COLUMNS, Ledger

__all__ = ["GROUP", "read_ledger", "read_state", "write_ledger"]

#: Where the ledger lies in a store.
GROUP = "_ledger"

#: Rows of one chunk of each array.
_INDEX_ROWS = 4096
_TEXT_ROWS = 256


def read_state(store: Any) -> dict[str, Any]:
    """What the store's owner keeps beside the ledger; empty where there is no ledger yet."""
    group = _group(store)
    return {} if group is None else dict(group.attrs)


def read_ledger(store: Any) -> Ledger:
    """The ledger of a store, empty where it has none; texts are read when they are asked for.

    Parameters
    ----------
    store : zarr store
        Of a session that lives as long as the ledger is used.
    """
    group = _group(store)
    if group is None or "index" not in group:
        return Ledger()
    texts, pages = group["rows"], dict[int, list[str]]()

    def read(rows: Sequence[int]) -> list[str]:
        for page in {row // _TEXT_ROWS for row in rows} - pages.keys():
            first = page * _TEXT_ROWS
            pages[page] = texts[first : first + _TEXT_ROWS].tolist()
        return [pages[row // _TEXT_ROWS][row % _TEXT_ROWS] for row in rows]

    return Ledger(np.ascontiguousarray(group["index"][:]), read)


def _group(store: Any) -> Any:
    import zarr

    try:
        return zarr.open_group(store, path=GROUP, mode="r", zarr_format=3)
    except (FileNotFoundError, KeyError):
        return None


def write_ledger(store: Any, ledger: Ledger, state: Mapping[str, Any]) -> None:
    """Write what changed of a ledger, and the owner's state if that changed."""
    import zarr

    group: Any = zarr.open_group(store, path=GROUP, mode="a", zarr_format=3)
    if dict(group.attrs) != dict(state):
        group.attrs.put(dict(state))
    if "index" not in group:
        group.create_array(
            "index",
            shape=(0, len(COLUMNS)),
            chunks=(_INDEX_ROWS, len(COLUMNS)),
            dtype="i8",
            fill_value=0,
            attributes={"columns": list(COLUMNS)},
            dimension_names=("row", "column"),
        )
        group.create_array(
            "rows",
            shape=(0,),
            chunks=(_TEXT_ROWS,),
            dtype="string",
            fill_value="",
            dimension_names=("row",),
        )
    index, rows, n = group["index"], group["rows"], len(ledger)
    if index.shape[0] != n:
        index.resize((n, len(COLUMNS)))
        rows.resize((n,))
    for page in sorted({row // _INDEX_ROWS for row in ledger.changed_index}):
        part = slice(page * _INDEX_ROWS, min((page + 1) * _INDEX_ROWS, n))
        index[part] = ledger.index[part]
    for page in sorted({row // _TEXT_ROWS for row in ledger.changed_rows}):
        first, last = page * _TEXT_ROWS, min((page + 1) * _TEXT_ROWS, n)
        texts = ledger.texts(range(first, last))
        rows[first:last] = np.array(texts, np.dtypes.StringDType())
