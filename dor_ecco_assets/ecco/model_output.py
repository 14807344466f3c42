"""Finding and reading the records of model output.

Files are reached through a `Storage`, local or remote. What a pair of files
holds, and whether it can be used, is the business of `mds`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dor_ecco_assets.ecco.times import (
    FREQUENCIES,
    V4R4_CLOCK,
    Frequency,
    ModelClock,
    frequency_of_period,
)
from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.grids.llc_binaries import missing_meta
from dor_ecco_assets.grids.mds import (
    MdsMeta,
    MdsName,
    PeriodToken,
    check_pair,
    match_mds_name,
    parse_mds_name,
    parse_meta,
    read_field,
)
from dor_ecco_assets.storage.base import Readable

__all__ = ["index_records", "missing_input", "read_record", "record_key"]


def record_key(field: str, period: PeriodToken, step: int, *, version: str = "V4r4") -> str:
    """Key of a record in the usual folders, without extension.

    Returns
    -------
    str
        Such as ``V4r4/diags_monthly/SSH_mon_mean/SSH_mon_mean.0000000732``.
    """
    name = MdsName(field, period, step)
    return (
        f"{version}/{FREQUENCIES[frequency_of_period(period)].folder}/{field}_{period}/{name.stem}"
    )


def index_records(keys: Iterable[str]) -> dict[tuple[str, Frequency], dict[int, str]]:
    """Sort a listing by field and frequency, whatever folders the files lie in.

    Parameters
    ----------
    keys : iterable of str
        Paths or object keys; those that do not name model output are left out.

    Returns
    -------
    dict
        ``(field, frequency)`` -> step -> key without extension, steps in order. A record of
        which only one file of the pair is there is listed too, so that reading it says so. Where
        a record is found twice, the key that sorts first counts.
    """
    found: dict[tuple[str, Frequency], dict[int, str]] = {}
    for key in sorted(keys):
        name = match_mds_name(key)
        if name is not None:
            steps = found.setdefault((name.field, frequency_of_period(name.period)), {})
            steps.setdefault(name.step, key.rsplit(".", 1)[0])
    return {group: dict(sorted(steps.items())) for group, steps in found.items()}


def read_record(
    source: Readable,
    key: str,
    *,
    side: int,
    levels: int | None = None,
    field: str | None = None,
    assume: MdsMeta | None = None,
    clock: ModelClock = V4R4_CLOCK,
    dtype: DTypeLike = np.float32,
) -> tuple[NDArray[Any], MdsMeta]:
    """Find, check and read the record of one field at one step.

    Parameters
    ----------
    source : Readable
    key : str
        Without extension, as from `record_key` or `index_records`.
    side, levels
        As for `check_pair`.
    field : str, optional
        The one in the name, if not given; another for multi-field files.
    assume : MdsMeta, optional
        Stands in where the ``.meta`` file is absent; see `assumed_meta`.
    clock : ModelClock, optional
        Dates the step in a message, and checks the file's time interval.
    dtype : dtype, default float32

    Returns
    -------
    tiles : ndarray, shape (13, L, L) or (k, 13, L, L)
    meta : MdsMeta

    Raises
    ------
    InputMissing
        Code ``MissingInput`` (with the steps that are there) or ``MissingMeta``.
    InputUnusable
        As `parse_meta`, `check_pair`, `ModelClock.check_interval` and `read_field`.
    """
    name = parse_mds_name(f"{key}.data")
    field = field or name.field
    uri = source.locate(f"{key}.data")
    stat = source.stat(f"{key}.data")
    if stat is None:
        raise missing_input(source, key, clock)
    meta, step = assume, assume.step if assume else None
    text = source.read(f"{key}.meta")
    if text is not None:
        meta, step = parse_meta(text, source.locate(f"{key}.meta")), name.step
    if meta is None:
        raise missing_meta(source, key)
    check_pair(meta, name=uri, n_bytes=stat.size, field=field, step=step, side=side, levels=levels)
    if text is not None or meta.time_interval_s:
        frequency = frequency_of_period(name.period)
        clock.check_interval(meta.time_interval_s, name.step, frequency, name=uri)
    data = source.read(f"{key}.data")
    if data is None:
        raise missing_input(source, key, clock)
    return read_field(data, meta, field=field, name=uri, dtype=dtype), meta


def missing_input(source: Readable, key: str, clock: ModelClock = V4R4_CLOCK) -> InputMissing:
    """Say that a record is not there, when it would be, where it was sought, and what is near.

    Parameters
    ----------
    source : Readable
    key : str
        Of the record, without extension.
    clock : ModelClock, optional
        Dates the step.

    Returns
    -------
    InputMissing
        Code ``MissingInput``.
    """
    name = parse_mds_name(f"{key}.data")
    folder = key.rpartition("/")[0]
    groups = index_records(k for k, _ in source.list(folder) if k.endswith(".data"))
    steps = groups.get((name.field, frequency_of_period(name.period)), {})
    near = sorted(sorted(steps, key=lambda step: (abs(step - name.step), step))[:4])
    there = (
        f"nearest steps there: {', '.join(map(str, near))}" if near else "no other step is there"
    )
    return InputMissing(
        f"{name.field} at step {name.step} ({clock.time_of(name.step)}) is missing: no {name} in "
        f"{source.locate(folder)}; {there}",
        code="MissingInput",
    )
