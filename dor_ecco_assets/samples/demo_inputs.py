"""Inputs of the demo: the analytic sample, or MDS files made from real fields."""

import shutil
from pathlib import Path

import numpy as np

from dor_ecco_assets.errors import InputMissing
from dor_ecco_assets.grids.llc import tiles_from_compact
from dor_ecco_assets.grids.llc_geometry import REQUIRED_FIELDS
from dor_ecco_assets.grids.products import LLC_FOLDER, ORIGIN_FILE

#: What sample granules say of their origin.
ORIGIN = "analytic sample"

SIDE = 30
MONTHS = ("1992-01", "1992-02", "1992-03")
DAYS = ("1992-01-01", "1992-01-02", "1992-01-03")

#: Real time-mean fields in ``llc90/`` and the diagnostic each stands for. TauX and TauY lie on the
#: west and south edges: they vanish where the cell or its neighbour across that edge is dry.
REAL_FIELDS = {"SSH.bin": "SSH", "TauX.bin": "oceTAUX", "TauY.bin": "oceTAUY"}

#: A time mean is no month; it is labelled as the first one.
REAL_STEP, REAL_MONTH = 732, "1992-01"


#: Daily granules of the demo's archive.
ARCHIVE_DAYS = 20

#: The atlas of the demo, of which all cases are made.
ATLAS = "atlas: tiny\nhistory: pop/cases\n"

#: Limits of its colours, in stored units: the sample's changes are far below a model's, since their
#: differences have to be exact in float32.
_SAMPLE_LIMITS = {
    "FG": {"delta": (-1.5e-5, 1.5e-5), "experimental": (-6e-4, 6e-4)},
    "DIC": {"delta": (-100.0, 100.0)},
    "PH": {"delta": (-1e-3, 1e-3)},
    "pCO2SURF": {"delta": (-0.06, 0.06)},
}
_MAPS = "pyramids/atlas.yaml"

#: With real inputs the published one: its polygons and efficiencies, and no case.
_PUBLISHED = "pop/oae_atlas/regions_joined.geojson"
REAL_ATLAS = f"atlas: dor\nhistory: pop/cases\npublished_efficiency: {_PUBLISHED}\n"


def prepare(inputs: Path, data: Path | None, configs: Path) -> tuple[bool, list[tuple[str, ...]]]:
    """Put the demo's inputs into a folder, where they are not there yet.

    Parameters
    ----------
    inputs : Path
        Where they go.
    data : Path or None
        Folder that holds ``llc90/``; the analytic sample is made without it.
    configs : Path
        The demo's own overlay of ``configs/``; gets the name of its atlas and how to show it.

    Returns
    -------
    allow_partial : bool
        Whether some variables of a grouping will be absent.
    partitions : list of tuple of str
        Partitions that have inputs: months, then days if there are any.

    Raises
    ------
    InputMissing
        If `data` holds no grid.
    """
    configs.mkdir(parents=True, exist_ok=True)
    polygons = [] if data is None else _polygon_files(data)
    (configs / "dor.yaml").write_text(REAL_ATLAS if polygons else ATLAS)
    (configs / _MAPS).unlink(missing_ok=True)
    if not polygons:
        write_limits(configs / _MAPS)
    scratch = inputs.with_name(f".{inputs.name}.made")
    shutil.rmtree(scratch, ignore_errors=True)
    if data is None:
        _write_sample(scratch)
        _write_atlas(scratch, str(configs))
        _write_archive(scratch, inputs, configs)
    else:
        _write_real(scratch, data)
        for name in polygons:
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / name, scratch / name)
    _mirror(scratch, inputs)
    if data is None:
        return False, [MONTHS, DAYS]
    return True, [(REAL_MONTH,)]


def write_limits(path: Path) -> None:
    """Write how maps of the atlas are shown, with the limits of the sample."""
    import yaml

    from dor_ecco_assets.pyramids.configuration import load_atlas_maps

    maps = load_atlas_maps().model_dump(mode="json")
    for name, limits in _SAMPLE_LIMITS.items():
        maps["variables"][name]["clim"] |= {band: list(pair) for band, pair in limits.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(maps, sort_keys=False))


def _polygon_files(data: Path) -> list[str]:
    """Files of the published polygons and efficiencies; none where some of it is absent."""
    from dor_ecco_assets.atlas.specification import load_atlas
    from dor_ecco_assets.grids.products import PopGrid
    from dor_ecco_assets.settings import load_config

    atlas = load_atlas("dor")
    grid = load_config(PopGrid, f"grids/{atlas.grid}.yaml")
    horizontal = next((name for name in grid.horizontal if (data / name).is_file()), None)
    wanted = [horizontal, grid.vertical, *atlas.polygon_set.sha256]
    files = [name for name in wanted if name is not None and (data / name).is_file()]
    return files if horizontal and {_PUBLISHED, atlas.polygon_set.mask} <= set(files) else []


def _write_real(folder: Path, data: Path) -> None:
    """Copy the grid's binaries and write the real fields as MDS output."""
    from dor_ecco_assets.grids.mds import write_mds

    source, grid = data / LLC_FOLDER, folder / LLC_FOLDER
    files = [f"{name}.{ending}" for name in REQUIRED_FIELDS for ending in ("data", "meta")]
    missing = [name for name in files if not (source / name).is_file()]
    if missing:
        raise InputMissing(
            f"--data {data}: there is no {LLC_FOLDER}/{missing[0]} in it ({len(missing)} of "
            f"{len(files)} grid files are missing); name a folder that holds {LLC_FOLDER}/, or "
            "bring the grid by `dor-ecco inputs fetch`",
            code="MissingGridField",
        )
    grid.mkdir(parents=True)
    for name in files:
        shutil.copyfile(source / name, grid / name)
    for file, field in REAL_FIELDS.items():
        if (source / file).is_file():
            values = np.fromfile(source / file, ">f4")
            side = int(np.sqrt(values.size / 13))
            tiles = tiles_from_compact(values.reshape(13 * side, side))
            place = folder / "V4r4" / "diags_monthly" / f"{field}_mon_mean"
            interval_s = (3600.0, 2635200.0)
            write_mds(place, field, "mon_mean", REAL_STEP, tiles, time_interval_s=interval_s)


def _write_sample(folder: Path) -> None:
    from dor_ecco_assets.ecco.times import V4R4_CLOCK
    from dor_ecco_assets.samples.ecco_output import write_sample_output
    from dor_ecco_assets.samples.ecco_static import sample_metrics, write_sample_mixing
    from dor_ecco_assets.samples.llc_grid import sample_grid_fields

    grid = sample_grid_fields(SIDE)
    write_sample_mixing(folder, grid)
    write_sample_output(
        folder,
        grid | sample_metrics(grid),
        months=[V4R4_CLOCK.step_of(month, "AVG_MON") for month in MONTHS],
        days=[V4R4_CLOCK.step_of(day, "AVG_DAY") for day in DAYS],
    )
    (folder / LLC_FOLDER / ORIGIN_FILE).write_text(f"{ORIGIN}\n")


def _write_atlas(folder: Path, configs: str) -> None:
    """Write the history files of every case of the demo's atlas, and of its control run."""
    from dor_ecco_assets.dor.configuration import case_partitions, load_line
    from dor_ecco_assets.samples.dor_inputs import sample_atlas

    line = load_line(configs)
    sample = sample_atlas(folder, line, configs)
    sample.write(case_partitions(line.specification))
    sample.write_control()


def _write_archive(folder: Path, inputs: Path, configs: Path) -> None:
    """Write an archive of daily granules, CMR's records of it, and its configuration."""
    import json

    import yaml

    from dor_ecco_assets.samples.virtual_granules import BUCKET, DAILY, HTTPS_ROOT, write_archive

    granules = write_archive(
        folder / "virtual" / "archive", days=ARCHIVE_DAYS, repacked=0, cycles=0
    )
    records = folder / "virtual" / "cmr"
    records.mkdir()
    items = [dict(granule.item) for granule in granules]
    (records / "granules.json").write_text(json.dumps({"items": items}) + "\n")
    place = configs / "collections"
    place.mkdir(parents=True, exist_ok=True)
    values = {
        "collection": {
            "concept_id": DAILY.concept_id,
            "short_name": DAILY.short_name,
            "cmr": f"file://{inputs}/virtual/cmr",
        },
        "title": "Sample sea-surface temperature, a granule a day",
        "level": "L4",
        "identity": "begin",
        "concat": {"dim": "time", "step": "P1D", "on_gap": "hole"},
        "load": ["time", "lat", "lon"],
        "access": {
            "local": f"{inputs}/virtual/archive/",
            "s3": f"s3://{BUCKET}/",
            "https": f"{HTTPS_ROOT}/",
        },
    }
    text = yaml.safe_dump(values, sort_keys=False)
    (place / f"{DAILY.short_name}.yaml").write_text(text)


def _mirror(made: Path, folder: Path) -> None:
    """Make `folder` hold what `made` holds; a file that has the same bytes stays untouched."""
    wanted = {path.relative_to(made): path for path in made.rglob("*") if path.is_file()}
    for name, path in wanted.items():
        target, data = folder / name, path.read_bytes()
        if not target.is_file() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder) not in wanted:
            path.unlink()
    shutil.rmtree(made)
