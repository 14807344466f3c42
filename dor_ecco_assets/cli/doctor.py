"""Check that everything a run needs is there, and say how to mend what is not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dor_ecco_assets.cli.common import (
    ConfigsOption,
    DataOption,
    JsonOption,
    ProfileOption,
    ProjectOption,
    RootOption,
    Where,
    show,
)

if TYPE_CHECKING:
    from dor_ecco_assets.settings import Places
    from dor_ecco_assets.storage import Storage

#: Less free space than this is worth a word; a month of every ECCO dataset is about 1 GB.
LITTLE_SPACE_GB = 2.0


def doctor(
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    export: Annotated[
        bool,
        typer.Option(
            "--export", help="Print the shell lines that make `dagster` share this project."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check directories, dependencies, credentials, object store and Dagster instance."""
    from dor_ecco_assets.cli.running import ensure_instance

    places = Where(project, root, data, configs, profile).places()
    if export:
        import shlex

        ensure_instance(places)
        for name, value in places.environment().items():
            print(f"export {name}={shlex.quote(value)}")
        return
    rows = [
        {"check": check, "state": state, "found": found, "mend": mend}
        for check, state, found, mend in _examine(places)
    ]
    show(rows, as_json=as_json)
    if any(row["state"] == "missing" for row in rows):
        raise typer.Exit(1)


Finding = tuple[str, str, str, str]


def _examine(places: "Places") -> Iterator[Finding]:
    import platform

    from dor_ecco_assets.errors import DorEccoError
    from dor_ecco_assets.storage import open_storage

    yield "python", "good", platform.python_version(), ""
    yield from dependencies()
    yield "profile", "good", places.profile, ""
    try:
        storage = open_storage(places.root)
        yield from _storage(storage)
    except DorEccoError as error:
        yield "storage", "missing", str(places.root.root), error.message
    try:
        yield from _inputs(open_storage(places.inputs), places.configs)
    except DorEccoError as error:
        yield "inputs", "missing", str(places.inputs.root), error.message
    yield from _instance(places)


def dependencies() -> Iterator[Finding]:
    """Whether the libraries are there that every line needs."""
    import importlib.util

    needed = (
        "dagster",
        "dagster_webserver",
        "xarray",
        "zarr",
        "netCDF4",
        "h5py",
        "numba",
        "obstore",
    )
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    if absent:
        yield "dependencies", "missing", f"no {', '.join(absent)}", "run `uv sync`"
    else:
        yield "dependencies", "good", f"{len(needed)} found", ""


def _storage(storage: "Storage") -> Iterator[Finding]:
    import shutil
    import uuid

    from dor_ecco_assets.storage import Directory

    key = f".doctor/{uuid.uuid4().hex}"
    storage.put(key, b"probe")
    created_twice = storage.put_new(key, b"another")
    storage.delete(key)
    yield "storage", "good", f"{storage.uri} can be written", ""
    yield from _credentials(storage)
    if created_twice:
        yield (
            "conditional writes",
            "missing",
            "the store overwrote an object that was to be created only",
            "use a store that honours If-None-Match; here two writers are not kept apart",
        )
    else:
        yield "conditional writes", "good", "create-only is honoured", ""
    if isinstance(storage, Directory):
        free_gb = shutil.disk_usage(storage.root).free / 1e9
        state = "good" if free_gb > LITTLE_SPACE_GB else "note"
        mend = "" if state == "good" else "free space or choose another root by DOR_ECCO_ROOT"
        yield "disk space", state, f"{free_gb:.1f} GB free", mend
    else:
        yield from _cors(storage)


def _credentials(storage: "Storage") -> Iterator[Finding]:
    """Where the credentials come from that the store just took; their values stay unseen."""
    import os

    from dor_ecco_assets.storage import Directory

    if isinstance(storage, Directory):
        return
    where = "environment" if "AWS_ACCESS_KEY_ID" in os.environ else "AWS credential chain"
    yield "credentials", "good", f"taken from the {where}", ""


def _cors(storage: Any) -> Iterator[Finding]:
    """Whether a page on another host may read from the bucket; of no matter to other users."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3", endpoint_url=storage.options.endpoint, region_name=storage.options.region
    )
    try:
        rules = client.get_bucket_cors(Bucket=storage.bucket)["CORSRules"]
    except (ClientError, BotoCoreError):
        yield "CORS", "note", "no rules", "needed only where a web page reads from this bucket"
    else:
        yield "CORS", "good", f"{len(rules)} rules", ""


def _inputs(inputs: "Storage", configs: str | None) -> Iterator[Finding]:
    from dor_ecco_assets.lineage.registry import load_registry, standing_of

    for name, registered in load_registry(configs).items():
        found = standing_of(inputs, registered, verify=False)
        here = sum(file.standing != "absent" for file in found)
        if here:
            yield f"inputs {name}", "good", f"{here} of {len(found)} files in {inputs.uri}", ""
        else:
            yield (
                f"inputs {name}",
                "note",
                f"none in {inputs.uri}",
                f"`dor-ecco inputs fetch {name}`, or name their folder by --data",
            )


def _instance(places: "Places") -> Iterator[Finding]:
    from dor_ecco_assets.cli.running import ensure_instance

    existed = (places.dagster_home / "dagster.yaml").exists()
    try:
        import dagster as dg

        ensure_instance(places)

        with dg.DagsterInstance.from_config(str(places.dagster_home)) as instance:
            runs = instance.get_runs_count()
    except Exception as error:  # noqa: BLE001 - whatever Dagster says of its own instance
        mend = f"mend or remove {places.dagster_home / 'dagster.yaml'}"
        yield "dagster instance", "missing", f"{type(error).__name__}: {error}"[:200], mend
        return
    yield "dagster runs", "good", f"{runs} runs recorded", ""
    yield "dagster instance", "good", f"{places.dagster_home}{'' if existed else ' (made now)'}", ""
