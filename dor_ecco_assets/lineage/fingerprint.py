"""What a partition is made from, and the one number that changes when any of it does."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

#: A configuration value whose JSON is longer than this stands in records as its digest.
LONGEST_VALUE_KEPT = 200


@dataclass(frozen=True)
class Ingredients:
    """Everything that decides the bytes of one partition of one product.

    Parameters
    ----------
    code_version : str
        Raised by hand when the product's bytes would change.
    partition : str
    config : mapping of str to JSON values
    inputs : mapping of str to str or None
        Name of each raw input to its SHA-256; None where a member is absent.
    upstream : mapping of str to str
        Key of each upstream partition (``key partition`` for a member of a fan-in) to its
        fingerprint; a member that is absent is not named at all.
    """

    code_version: str
    partition: str
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    upstream: Mapping[str, str] = field(default_factory=dict[str, str])

    def fingerprint(self) -> str:
        """SHA-256 over all of it, independent of the order in which it was gathered."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        text = json.dumps(
            [self.code_version, self.partition, self.config, self.inputs, self.upstream],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def for_record(self) -> dict[str, Any]:
        """The same as plain JSON, long configuration values as digests, to tell changes apart."""
        kept = asdict(self)
        kept["config"] = {name: kept_value(value) for name, value in sorted(self.config.items())}
        return kept


def kept_value(value: Any) -> Any:
    """A configuration value as a record has it: itself, or the digest of a long one."""
    text = json.dumps(value, sort_keys=True)
    if len(text) <= LONGEST_VALUE_KEPT:
        return value
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say in words what changed between two `Ingredients.for_record`.

    Parameters
    ----------
    before, now : mapping
        The recorded ingredients and the ones of today.

    Yields
    ------
    str
        One sentence for each change, such as ``input SSH_mon_mean.0000000732.data changed``.
    """
    if before.get("code_version") != now["code_version"]:
        yield f"code version {before.get('code_version')} -> {now['code_version']}"
    for kind, word in (("config", "configuration"), ("inputs", "input"), ("upstream", "upstream")):
        old, new = before.get(kind, {}), now[kind]
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) == new.get(name):
                continue
            if new.get(name) is None:
                yield f"{word} {name} is gone"
            elif old.get(name) is None:
                yield f"{word} {name} is new"
            elif kind == "config":
                yield f"{word} {name}: {_short(old[name])} -> {_short(new[name])}"
            else:
                yield f"{word} {name} changed ({old[name][:8]} -> {new[name][:8]})"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
