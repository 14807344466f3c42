"""Registered external inputs: where each comes from, and whether what is here is the same."""

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, RootModel

from dor_ecco_assets.errors import ConfigurationError, InputMissing, InputUnusable
from dor_ecco_assets.settings import Strict, load_config
from dor_ecco_assets.storage import Storage


class RegisteredFile(Strict):
    """Size and checksum of one file."""

    bytes: int
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class RegisteredInput(Strict):
    """Files that are used together: an entry of ``configs/inputs.yaml``."""

    title: str
    licence: str
    url: str = Field(description="the folder that holds the files, with a slash at its end")
    folder: str = Field(description="where they lie below the inputs")
    files: dict[str, RegisteredFile]


class Registry(RootModel[dict[str, RegisteredInput]]):
    """``configs/inputs.yaml``."""


@dataclass(frozen=True)
class FileStanding:
    """How one registered file stands: ``here``, ``absent`` or ``differs``."""

    name: str
    key: str
    standing: str
    registered: RegisteredFile


def load_registry(configs: str | os.PathLike[str] | None = None) -> dict[str, RegisteredInput]:
    """The registered inputs by name."""
    return load_config(Registry, "inputs.yaml", configs).root


def choose(registry: dict[str, RegisteredInput], name: str) -> RegisteredInput:
    """One registered input.

    Raises
    ------
    ConfigurationError
        If there is none of that name.
    """
    if name not in registry:
        raise ConfigurationError(
            f"there is no registered input {name!r}; there are {', '.join(registry)}",
            code="UnknownInput",
        )
    return registry[name]


def standing_of(
    inputs: Storage, registered: RegisteredInput, *, verify: bool
) -> list[FileStanding]:
    """How every file of a registered input stands; with `verify` it is hashed."""
    found: list[FileStanding] = []
    for name, file in registered.files.items():
        key = f"{registered.folder}/{name}"
        stat = inputs.stat(key)
        if stat is None:
            standing = "absent"
        elif stat.size != file.bytes or (verify and inputs.digest(key)[1] != file.sha256):
            standing = "differs"
        else:
            standing = "here"
        found.append(FileStanding(name, key, standing, file))
    return found


def fetch(inputs: Storage, registered: RegisteredInput) -> list[str]:
    """Bring the files that are absent or differ; returns the keys of what was brought.

    Raises
    ------
    InputMissing
        Code ``Offline``, if a file cannot be downloaded; names ``--data``.
    InputUnusable
        Code ``ChecksumMismatch``, if what was downloaded is not what is registered.
    """
    brought: list[str] = []
    for file in standing_of(inputs, registered, verify=True):
        if file.standing != "here":
            local = _download(registered, file)
            scratch = inputs.scratch(file.key, "fetch")
            scratch.write_bytes(local.read_bytes())
            inputs.publish(file.key, scratch, file.registered.sha256)
            brought.append(file.key)
    return brought


def _download(registered: RegisteredInput, file: FileStanding) -> Path:
    import pooch
    import requests

    url = registered.url + file.name
    try:
        return Path(
            pooch.retrieve(
                url,
                known_hash=f"sha256:{file.registered.sha256}",
                path=pooch.os_cache("dor-ecco"),
                fname=f"{file.registered.sha256[:16]}-{file.name}",
                progressbar=False,
            )
        )
    except (requests.exceptions.RequestException, OSError) as error:
        raise InputMissing(
            f"{url} could not be downloaded ({type(error).__name__}); if this machine has no "
            f"network, bring the folder {registered.folder}/ yourself and name the folder that "
            "holds it by --data DIR (or DOR_ECCO_INPUTS)",
            code="Offline",
        ) from error
    except ValueError as error:
        raise InputUnusable(
            f"{url} is not the file that is registered: expected sha256 "
            f"{file.registered.sha256[:12]}, {error}; tell the maintainers, or bring the file "
            "yourself and name its folder by --data DIR",
            code="ChecksumMismatch",
            uri=url,
        ) from error
