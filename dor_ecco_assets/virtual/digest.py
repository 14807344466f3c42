"""What a virtual store holds as one number: the same for equal content, however it came about."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from dor_ecco_assets.stores.icechunk_store import IcechunkStore
from dor_ecco_assets.stores.ledger_arrays import GROUP, read_ledger, read_state
from dor_ecco_assets.virtual.layout import Layout
from dor_ecco_assets.virtual.times import is_time, milliseconds

__all__ = ["content_digest"]

#: Values of one read at most, in slots along the axis.
_BLOCK = 64


def content_digest(
    store: IcechunkStore, version: str | None = None, *, values: bool = False
) -> str:
    """SHA-256 of array metadata, coordinates, references and ledger rows, in key order.

    Parameters
    ----------
    store : IcechunkStore
    version : str, optional
        A tag or snapshot; the newest without it.
    values : bool
        Read every value through the store too, instead of trusting that it refers to what its
        ledger says.

    Notes
    -----
    Times count by what they mean, not by their units; an epoch by its schema and not by its name;
    chunks of arrays that are kept by value not at all.
    """
    import zarr

    session = store.reading(version)
    digest = hashlib.sha256()
    epochs = read_state(session.store).get("epochs", [])
    for epoch in sorted(epochs, key=lambda each: each["layout"]["schema"]):
        layout = Layout.decode(epoch["layout"])
        virtual = {part.target for part in layout.of_kind("virtual")}
        group = zarr.open_group(session.store, path=epoch["path"], mode="r", zarr_format=3)
        digest.update(f"{layout.schema} {_json(dict(group.attrs))}".encode())
        for name, array in _arrays(group):
            digest.update(_metadata(name, array, by_reference=name in virtual).encode())
            if name not in virtual or values:
                for part in _bytes_of(array):
                    digest.update(part)
    ledger = read_ledger(session.store)
    named = {number: each["layout"]["schema"] for number, each in enumerate(epochs)}
    for entry in ledger.entries():
        place = [entry.order, entry.slot, named.get(entry.epoch, ""), entry.state]
        digest.update(f"{entry.encode()} {place}\n".encode())
    return digest.hexdigest()


def _arrays(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, found in sorted(group.members()):
        inner = f"{path}/{name}".lstrip("/")
        if not path and (name == GROUP or name.startswith("epoch_")):
            continue
        if hasattr(found, "shape"):
            yield inner, found
        else:
            yield from _arrays(found, inner)


def _metadata(name: str, array: Any, *, by_reference: bool) -> str:
    document = array.metadata.to_dict()
    attributes = dict(array.attrs)
    if is_time(attributes):
        attributes = {k: v for k, v in attributes.items() if k not in ("units", "calendar")}
    kept: dict[str, Any] = {"name": name, "attributes": attributes, "shape": list(array.shape)}
    for key in ("data_type", "fill_value", "dimension_names"):
        kept[key] = str(document[key])
    if by_reference:
        kept |= {key: str(document[key]) for key in ("chunk_grid", "codecs")}
    return _json(kept)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _bytes_of(array: Any) -> Iterator[bytes]:
    attributes = dict(array.attrs)
    if not array.shape:
        yield np.asarray(array[...]).tobytes()
        return
    for start in range(0, array.shape[0], _BLOCK):
        part = array[start : start + _BLOCK]
        if part.dtype.kind == "T":
            yield json.dumps(part.ravel().tolist()).encode()
        elif is_time(attributes) and array.ndim == 1 and "_FillValue" not in attributes:
            yield milliseconds(part, attributes).tobytes()
        else:
            yield np.ascontiguousarray(part).tobytes()
