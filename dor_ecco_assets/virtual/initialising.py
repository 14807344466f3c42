"""A first configuration of a collection, from what CMR says of it and one of its granules."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from dor_ecco_assets.errors import ConfigurationError, DorEccoError, InputMissing
from dor_ecco_assets.settings import parse_config
from dor_ecco_assets.virtual.access import Archives
from dor_ecco_assets.virtual.cmr import CmrClient, CmrQuery, CollectionRecord
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.granule_records import GranuleRecord
from dor_ecco_assets.virtual.listing import listed_granule
from dor_ecco_assets.virtual.references import ArrayReferences, GranuleReferences
from dor_ecco_assets.virtual.saved_records import SavedRecords

__all__ = ["Proposal", "find_collection", "propose", "yaml_of"]

#: Granules of which records are looked at.
_LOOKED_AT = 50
#: Names of data files, the most usual first.
_PATTERNS = ("*.nc", "*.nc4", "*.h5", "*.hdf5", "*.he5", "*.hdf")
#: Coordinates that are known by name where no granule can be read.
_USUAL = ("time", "lat", "lon")
#: Bytes of an array whose values are kept though they are the same in all granules.
_MOST_LOADED = 64_000_000


@dataclass
class Proposal:
    """A configuration and what is not certain of it.

    Parameters
    ----------
    values : dict
        As the YAML file has them.
    doubts : list of str
        To be looked at by a person.
    sample : str
        Name of the granule that was looked into; empty if none could be.
    """

    values: dict[str, Any]
    doubts: list[str] = field(default_factory=list[str])
    sample: str = ""

    @property
    def spec(self) -> StoreSpec:
        """The same, checked."""
        return parse_config(StoreSpec, self.values, "the configuration proposed")


def find_collection(
    cmr: CmrClient | SavedRecords,
    *,
    short_name: str | None = None,
    version: str | None = None,
    provider: str | None = None,
    concept_id: str | None = None,
) -> CollectionRecord:
    """The one collection that is meant.

    Raises
    ------
    ConfigurationError
        Codes ``CollectionUnknown`` and ``CollectionAmbiguous``; names what CMR has.
    """
    found = cmr.collections(
        concept_id=concept_id, short_name=short_name, version=version, provider=provider
    )
    if short_name is not None:  # CMR takes names as patterns and in any case
        found = [each for each in found if each.short_name == short_name] or found
    if len(found) == 1:
        return found[0]
    asked = concept_id or " ".join(filter(None, (short_name, version, provider)))
    if not found:
        raise ConfigurationError(
            f"CMR has no collection {asked!r}; check the short name, or look for it in Earthdata "
            "Search",
            code="CollectionUnknown",
        )
    several = ", ".join(f"{each.concept_id} (version {each.version})" for each in found[:5])
    raise ConfigurationError(
        f"CMR has {len(found)} collections {asked!r}: {several}; name one by --concept-id",
        code="CollectionAmbiguous",
    )


def propose(
    cmr: CmrClient | SavedRecords,
    collection: CollectionRecord,
    *,
    load: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    access: Sequence[dict[str, Any]] | None = None,
) -> Proposal:
    """A configuration that fits what CMR and a granule say.

    Parameters
    ----------
    cmr : CmrClient
    collection : CollectionRecord
    load : sequence of str, optional
        Arrays whose values are kept; those that are coordinates, if not given.
    start, end : datetime, optional
    access : sequence of dict, optional
        Where the granules lie, if not where their records say.

    Raises
    ------
    InputMissing
        Code ``NoGranules``, if the collection has none in the period.
    """
    query = CmrQuery(concept_id=collection.concept_id, start=start, end=end)
    records = cmr.some(query, _LOOKED_AT)
    if not records:
        raise InputMissing(
            f"{collection.short_name} ({collection.concept_id}) has no granules in this period",
            code="NoGranules",
        )
    found = Proposal(
        {
            "collection": {
                "concept_id": collection.concept_id,
                "short_name": collection.short_name,
                "version": collection.version,
                "provider": collection.provider,
            },
            "title": collection.title,
            "level": _level(collection),
            "granule_name": _pattern(records),
        }
    )
    if start is not None or end is not None:
        found.values["temporal"] = [each and f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (start, end)]
    found.values["access"] = list(access) if access else _places(records, found)
    _take_time(records, found)
    _look_into(records[0], found, load)
    return found


def _level(collection: CollectionRecord) -> str:
    digits = re.search(r"[234]", collection.level)
    return f"L{digits[0]}" if digits else "L4"


def _pattern(records: Sequence[GranuleRecord]) -> str:
    """The usual pattern that one file of most granules has."""
    fits = Counter(
        pattern
        for record in records
        for pattern in _PATTERNS
        if sum(fnmatchcase(file.name, pattern) for file in record.files) == 1
    )
    if not fits:
        names = ", ".join(file.name for file in records[0].files[:5])
        raise ConfigurationError(
            f"no pattern of {', '.join(_PATTERNS)} finds one file of {records[0].granule_ur}, "
            f"which has {names}; write the configuration by hand",
            code="LinkAmbiguous",
        )
    return max(_PATTERNS, key=lambda pattern: (fits[pattern], -_PATTERNS.index(pattern)))


def _places(records: Sequence[GranuleRecord], found: Proposal) -> list[dict[str, Any]]:
    """Buckets and web folders that hold the data files."""
    places: dict[tuple[str, str], None] = {}
    for record in records:
        file = record.data_file(found.values["granule_name"])
        s3, https = file.s3_url or "", file.https_url or ""
        bucket = "/".join(s3.split("/")[:3]) + "/" if s3 else ""
        key = s3.removeprefix(bucket)
        if https and key and https.endswith(f"/{key}"):
            web = https.removesuffix(key)
        else:
            web = "/".join(https.split("/")[:4]) + "/" if https else ""
        places.setdefault((bucket, web))
    made: list[dict[str, Any]] = []
    for number, (bucket, web) in enumerate(places):
        urls = {name: url for name, url in (("s3", bucket), ("https", web)) if url}
        made.append({"name": "granules" if not number else f"granules-{number + 1}", **urls})
    if len(made) > 1:
        found.doubts.append(f"granules lie in {len(made)} places; later ones may be elsewhere")
    return made


def _take_time(records: Sequence[GranuleRecord], found: Proposal) -> None:
    """Whether granules follow each other in equal steps."""
    begins = sorted({record.begin for record in records if record.begin is not None})
    steps = {
        round((later - earlier).total_seconds()) for earlier, later in itertools.pairwise(begins)
    }
    regular = len(begins) > 2 and len(steps) == 1 and len(begins) == len(records)
    seconds = steps.pop() if regular else 0
    if regular and seconds % 86400 == 0:
        found.values["concat"] = {"dim": "time", "step": f"P{seconds // 86400}D", "on_gap": "hole"}
    elif regular and seconds % 3600 == 0:
        found.values["concat"] = {"dim": "time", "step": f"PT{seconds // 3600}H", "on_gap": "hole"}
    else:
        found.values["concat"] = {"dim": "time"}


def _look_into(record: GranuleRecord, found: Proposal, load: Sequence[str] | None) -> None:
    """Parse a granule for its axes, coordinates and group."""
    from dor_ecco_assets.virtual.referencing import parse_listed

    values = found.values
    try:
        spec = found.spec
        listed = listed_granule(spec, record).granule
        granule = next(iter(parse_listed(spec, Archives(spec), [listed])))
        if not isinstance(granule, GranuleReferences):
            raise granule
    except DorEccoError as error:
        values["load"] = list(load or _USUAL)
        found.doubts.append(f"no granule could be read ({error.message}): check load and concat")
        return
    found.sample = record.granule_ur
    group = _group(granule)
    if group:
        values["group"] = group
        granule = granule.select(group)
    arrays = granule.arrays
    dims = Counter(dim for array in arrays.values() for dim in array.dims)
    if values["level"] == "L2" and "time" not in {d for a in arrays.values() for d in a.dims[:1]}:
        _take_swath(record, arrays, found)
    elif "time" not in dims and "time" not in arrays:
        found.doubts.append("no array has an axis named time: each granule becomes one step")
    values["load"] = list(load) if load is not None else _coordinates(arrays, values)


def _group(granule: GranuleReferences) -> str:
    """The only group that holds arrays, if the root has none."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in granule.arrays}
    return tops.pop() if len(tops) == 1 else ""


def _take_swath(record: GranuleRecord, arrays: dict[str, ArrayReferences], found: Proposal) -> None:
    largest = max(arrays.values(), key=lambda array: len(array.dims), default=None)
    if largest is None or not largest.dims:
        return
    found.values["concat"] = {"dim": largest.dims[0], "order": "begin"}
    found.values["swath"] = {"ragged": [largest.dims[0]]}
    known = record.cycle is not None and record.pass_number is not None
    found.values["identity"] = "cycle_pass" if known else "granule_ur"
    if not known:
        found.values["partition"] = "month"
        found.doubts.append("records tell no cycle and pass: swath.track can read the names")


def _coordinates(arrays: dict[str, ArrayReferences], values: dict[str, Any]) -> list[str]:
    """Arrays to keep by value: on the axis of granules, and those that all granules share."""
    axis = values["concat"]["dim"]
    if "swath" in values:
        return []
    inside = any(axis in array.dims for array in arrays.values())
    return sorted(
        name
        for name, array in arrays.items()
        if (inside and axis not in array.dims)
        or (len(array.dims) == 1 and array.dims[0] in (axis, name))
        or (inside and array.dims[:1] == (axis,) and name.endswith(("_bnds", "_bounds")))
        if array.dtype.itemsize * max(1, _size(array)) <= _MOST_LOADED
    )


def _size(array: ArrayReferences) -> int:
    size = 1
    for length in array.shape:
        size *= length
    return size


def yaml_of(proposal: Proposal) -> str:
    """The YAML file, its doubts as comments."""
    import yaml

    lines = [f"# {doubt}" for doubt in proposal.doubts]
    if proposal.sample:
        lines.insert(0, f"# As {proposal.sample} is made.")
    text = yaml.safe_dump(proposal.values, sort_keys=False, default_flow_style=None, width=100)
    return "\n".join([*lines, text])
