"""A production of a tiny atlas on sample inputs, for tests of its products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dor_ecco_assets.dor.configuration import load_line
from dor_ecco_assets.lineage.product import RunSettings
from dor_ecco_assets.products import Production
from dor_ecco_assets.samples.dor_inputs import SampleAtlas, sample_atlas
from dor_ecco_assets.settings import Place

if TYPE_CHECKING:
    from pathlib import Path

ALL = tuple(
    f"{month}|{polygon}" for month in ("01", "04", "07", "10") for polygon in ("000", "001")
)


def overlay(folder: Path, *, months: int = 3, more: str = "", atlas: str = "") -> str:
    """Configuration of a tiny atlas with short cases."""
    (folder / "atlases").mkdir(parents=True, exist_ok=True)
    (folder / "dor.yaml").write_text(f"atlas: tiny\nhistory: pop/cases\n{more}")
    (folder / "atlases/tiny.yaml").write_text(
        "title: Tiny\nforcing: DOR\ngrid: pop_sample\npolygons: tiny\n"
        f"months: {months}\npixels_per_tile: 32\n{atlas}"
    )
    return str(folder)


def make_inputs(folder: Path, partitions: tuple[str, ...] = ALL, **options: Any) -> SampleAtlas:
    """Sample inputs in ``folder/inputs`` for the configuration in ``folder/configs``."""
    configs = overlay(folder / "configs", **options)
    made = sample_atlas(folder / "inputs", load_line(configs), configs)
    made.write(partitions)
    return made


def production(folder: Path, root: str | None = None, **settings: Any) -> Production:
    """The production of these inputs."""
    return Production(
        Place(root=root or str(folder / "root")),
        Place(root=str(folder / "inputs")),
        str(folder / "configs"),
        RunSettings(**settings),
    )
