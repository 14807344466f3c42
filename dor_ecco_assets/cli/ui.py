"""Start Dagster's web server and daemon on this project's instance."""

from typing import Annotated

import typer

from dor_ecco_assets.cli.common import (
    ConfigsOption,
    DataOption,
    ProfileOption,
    ProjectOption,
    RootOption,
    Where,
)


def ui(
    project: ProjectOption = None,
    root: RootOption = None,
    data: DataOption = None,
    configs: ConfigsOption = None,
    profile: ProfileOption = None,
    port: Annotated[int, typer.Option(help="Port of the web server.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Start Dagster's web server and daemon; stop both with Ctrl-C."""
    import os
    import sys

    from dor_ecco_assets.cli.running import ensure_instance

    places = Where(project, root, data, configs, profile).places()
    ensure_instance(places)
    print(f"http://{host}:{port}  (data in {places.root.root})", file=sys.stderr)
    command = [sys.executable, "-m", "dagster", "dev", "-m", "dor_ecco_assets.definitions"]
    # Replaces this process, so that a signal reaches Dagster, which ends its own children.
    os.execv(sys.executable, [*command, "-h", host, "-p", str(port)])  # noqa: S606 - a fixed program
