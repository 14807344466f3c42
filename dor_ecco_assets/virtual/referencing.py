"""References of listed granules: parsed once per revision, kept in shards, found there again."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from dor_ecco_assets.errors import InputMissing, InputUnusable
from dor_ecco_assets.virtual.access import Archives
from dor_ecco_assets.virtual.collections import StoreSpec
from dor_ecco_assets.virtual.compatibility import check_size
from dor_ecco_assets.virtual.listing import ListedGranule
from dor_ecco_assets.virtual.references import ArrayReferences, GranuleReferences
from dor_ecco_assets.virtual.shards import FailedGranule, ReferenceShard

if TYPE_CHECKING:
    from dor_ecco_assets.lineage.ledger import Entry
    from dor_ecco_assets.virtual.hdf5 import WhichAttributes
    from dor_ecco_assets.virtual.remote import Parsed

__all__ = ["PASSING", "References", "parse_listed", "parsing_of", "reference_partition"]

log = logging.getLogger(__name__)

#: Codes of what waiting may mend: CMR can be ahead of its archive.
PASSING = frozenset({"NotFound", "SizeMismatch", "ChangedWhileRead"})

type Outcome = GranuleReferences | InputUnusable | InputMissing


def parsing_of(spec: StoreSpec) -> str:
    """Fingerprint of all that decides what is parsed of a granule."""
    from dor_ecco_assets.virtual.hdf5 import PARSER

    told = [PARSER, spec.load, spec.drop, spec.group, spec.attributes]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def parse_listed(
    spec: StoreSpec,
    archives: Archives,
    granules: Sequence[ListedGranule],
    *,
    load: Sequence[str] = (),
    attributes: "WhichAttributes" = "all",
) -> Iterator[Outcome]:
    """References of granules in their order; an error instead of some.

    Parameters
    ----------
    spec : StoreSpec
    archives : Archives
    granules : sequence of ListedGranule
    load : sequence of str
        Arrays to load besides those of the configuration.
    attributes : str
        ``packing`` leaves out those that decoding does not need.

    Raises
    ------
    StorageRefused, StorageUnavailable
        Where the archive as a whole cannot be read: it is not the granule.
    """
    from dor_ecco_assets.virtual.remote import BlockHints, parse_granules

    wanted = [*spec.load, *load]
    hints = BlockHints()
    found: dict[str, Outcome] = {}
    for place in dict.fromkeys(each.access for each in granules if not each.code):
        here = [each for each in granules if each.access == place and not each.code]
        store = archives.store(place, here[0].s3_credentials_url)
        keys = [each.key for each in here]
        options: dict[str, Any] = {"load": wanted, "drop": spec.drop, "attributes": attributes}
        parsed = parse_granules(store, keys, hints=hints, **options)
        for each, outcome in zip(here, parsed, strict=True):
            found[each.revision] = _outcome(spec, archives, each, outcome, wanted)
    for each in granules:
        if each.code:
            yield InputUnusable(each.problem, code=each.code, uri=each.key)
        else:
            yield found.pop(each.revision)


def _outcome(
    spec: StoreSpec,
    archives: Archives,
    listed: ListedGranule,
    parsed: "Parsed",
    load: Sequence[str],
) -> Outcome:
    uri = archives.url(listed.access, listed.key)
    granule, error = parsed.granule, parsed.error
    try:
        if error is not None and error.code == "FormatUnsupported":
            granule, error = _of_other_format(spec, archives, listed, load), None
        if granule is None:
            assert error is not None
            raise error
        check_size(listed.key, granule.size, listed.size_bytes)
        return granule
    except InputUnusable as problem:
        return InputUnusable(problem.message, code=problem.code, uri=uri)
    except InputMissing as problem:
        return problem


def _of_other_format(
    spec: StoreSpec, archives: Archives, listed: ListedGranule, load: Sequence[str]
) -> GranuleReferences:
    import obstore

    from dor_ecco_assets.virtual.formats import granule_format
    from dor_ecco_assets.virtual.other_formats import parse_other

    store = archives.store(listed.access, listed.s3_credentials_url)
    reply = obstore.get(store, listed.key, options={"range": (0, 512)})
    head = granule_format(bytes(reply.bytes()))
    root = archives.url(listed.access, "").rstrip("/")
    root = f"file://{root}" if root.startswith("/") else root
    granule = parse_other(store, root, listed.key, head, load=load, drop=spec.drop)
    modified = reply.meta["last_modified"].astimezone(UTC).isoformat()
    return replace(
        granule, size=reply.meta["size"], e_tag=reply.meta["e_tag"] or "", modified=modified
    )


def reference_partition(
    spec: StoreSpec,
    granules: Sequence[ListedGranule],
    before: ReferenceShard | None,
    archives: Archives,
) -> tuple[ReferenceShard, int]:
    """References of one partition's granules, reusing those that were parsed before.

    Parameters
    ----------
    spec : StoreSpec
    granules : sequence of ListedGranule
        In the order of their time; the first that can be used keeps all its attributes.
    before : ReferenceShard or None
        As this partition was, parsed with the same settings.
    archives : Archives

    Returns
    -------
    shard : ReferenceShard
    parsed : int
        Granules that were read for it.
    """
    wanted = [each for each in granules if not each.deleted]
    shard = ReferenceShard(parsing_of(spec))
    known = before if before is not None else ReferenceShard("")
    unread = [
        each
        for each in wanted
        if each.revision not in known.granules
        and (each.revision not in known.failed or known.failed[each.revision].code in PASSING)
    ]
    # The others' descriptions are not kept, and not reading them halves the time.
    first = len(unread) if spec.attributes == "all" else int(unread[:1] == wanted[:1])
    outcomes = [
        *parse_listed(spec, archives, unread[:first]),
        *parse_listed(spec, archives, unread[first:], attributes="packing"),
    ]
    parsed = dict(zip((each.revision for each in unread), outcomes, strict=True))
    count, described = len(unread), spec.attributes == "all"
    for each in wanted:
        found = parsed.get(each.revision) or known.granules.get(each.revision)
        if found is None:
            shard.failed[each.revision] = known.failed[each.revision]
        elif isinstance(found, GranuleReferences):
            if not described and _is_bare(found):
                again = next(iter(parse_listed(spec, archives, [each])))
                count += 1
                found = again if isinstance(again, GranuleReferences) else found
            bare = described and spec.attributes == "first"
            shard.granules[each.revision] = _without_descriptions(found) if bare else found
            described = True
        else:
            uri = archives.url(each.access, each.key) if each.access else each.key
            shard.failed[each.revision] = FailedGranule(
                uri, found.code, found.message, shard.parsing
            )
    return shard, count


def _without_descriptions(granule: GranuleReferences) -> GranuleReferences:
    """Only the attributes that decoding needs: the others stand with the first granule."""

    def bare(array: ArrayReferences) -> ArrayReferences:
        return replace(array, attributes=array.packing)

    return replace(
        granule,
        arrays={name: bare(array) for name, array in granule.arrays.items()},
        groups={name: {} for name in granule.groups},
    )


@dataclass
class References:
    """Gives references of listed granules from shards, and parses what those lack.

    Parameters
    ----------
    spec : StoreSpec
    listed_in : callable
        Granules of a partition by revision, as `ListedGranule.revision` names it.
    shard_of : callable
        The shard of a partition; None where there is none.
    archives : Archives
    """

    spec: StoreSpec
    listed_in: Callable[[str], Mapping[str, ListedGranule]]
    shard_of: Callable[[str], ReferenceShard | None]
    archives: Archives
    parsed: int = field(default=0, init=False)
    _shard: tuple[str, ReferenceShard | None] | None = field(default=None, init=False)

    def __call__(
        self, entries: "Sequence[Entry]", *, load: Sequence[str] = (), described: bool = False
    ) -> Iterable[Outcome]:
        """References in the order of entries; those of one partition should stand together."""
        for entry in entries:
            yield self._of(entry, load, described)

    def _of(self, entry: "Entry", load: Sequence[str], described: bool) -> Outcome:
        revision = f"{entry.key}.{entry.revision}"
        if self._shard is None or self._shard[0] != entry.partition:
            self._shard = (entry.partition, self.shard_of(entry.partition))
        shard = self._shard[1]
        failed = None if shard is None else shard.failed.get(revision)
        if failed is not None and not load:
            if failed.code == "NotFound":
                return InputMissing(failed.reason, code=failed.code)
            return InputUnusable(failed.reason, code=failed.code, uri=failed.uri)
        granule = None if shard is None else shard.granules.get(revision)
        if granule is not None and not load and not (described and _is_bare(granule)):
            return granule
        listed = self.listed_in(entry.partition).get(revision)
        if listed is None:
            return InputMissing(f"{revision} is not listed any more", code="NotListed")
        self.parsed += 1
        return next(iter(parse_listed(self.spec, self.archives, [listed], load=load)))


def _is_bare(granule: GranuleReferences) -> bool:
    return not any(granule.groups.values())
