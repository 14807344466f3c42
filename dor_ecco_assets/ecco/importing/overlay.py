"""The overlay of ``configs/`` that an import writes, with where each of its values came from."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dor_ecco_assets.errors import ConfigurationError
from dor_ecco_assets.settings import config_path

__all__ = ["Imported", "read_base", "write_overlay"]


@dataclass
class Imported:
    """What an import found.

    Parameters
    ----------
    files : dict
        Content of each file of the overlay by its path below ``configs/``.
    provenance : dict of str to str
        File and entry that each setting was taken from, by the setting's dotted name.
    left_out : list of dict
        With `file`, `entry`, `why`: all that could not be carried over.
    mended : list of str
        What a tolerant reading took for something else.
    """

    files: dict[str, Any] = field(default_factory=dict[str, Any])
    provenance: dict[str, str] = field(default_factory=dict[str, str])
    left_out: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    mended: list[str] = field(default_factory=list[str])

    def leave_out(self, file: str, entry: str, why: str) -> None:
        """Note something that could not be carried over."""
        self.left_out.append({"file": file, "entry": entry, "why": why})

    def carry(
        self, holder: dict[str, Any], name: str, value: Any, setting: str, source: str
    ) -> None:
        """Set a value and note where it came from."""
        holder[name] = value
        self.provenance[setting] = source


def read_base(name: str, configs: str | os.PathLike[str] | None = None) -> Any:
    """A file of ``configs/`` as plain values: what an import starts from."""
    return yaml.safe_load(config_path(name, configs).read_text())


def write_overlay(
    imported: Imported, out: Path, *, configs: str | os.PathLike[str] | None = None
) -> list[Path]:
    """Write an overlay that the catalogue's own loader accepts; nothing at all if it does not.

    Parameters
    ----------
    imported : Imported
    out : Path
        A folder that is not there yet, or empty.
    configs : path, optional
        The overlay that the import started from; its other files are copied.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ConfigurationError
        Code ``OutputConflict``, if `out` holds something; whatever loading the catalogue raises.
    """
    from dor_ecco_assets.ecco.products import ecco_products

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(
            f"{out} is not empty; name a new folder, so that no other overlay is mixed in",
            code="OutputConflict",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        if configs is not None:
            shutil.copytree(configs, scratch, dirs_exist_ok=True)
        for name, content in imported.files.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_yaml(content))
        ecco_products(str(scratch))
        scratch.chmod(0o755)
        if out.exists():
            out.rmdir()
        scratch.rename(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return [out / name for name in imported.files]


def _yaml(content: Mapping[str, Any] | list[Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
