"""A project folder with small sample inputs, and the command line run in this process."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dor_ecco_assets.samples.ecco_output import write_sample_output
from dor_ecco_assets.samples.llc_grid import sample_grid_fields


def make_project(folder: Path, *, side: int = 10, months=(732, 1428), days=(12,)) -> Path:
    """Inputs of a small production below ``folder/data/inputs``; returns `folder`."""
    inputs = folder / "data" / "inputs"
    write_sample_output(inputs, sample_grid_fields(side), months=months, days=days)
    (inputs / "llc90" / "source.txt").write_text("analytic sample\n")
    return folder


class Cli:
    """`dor-ecco` on one project; remembers the last result."""

    def __init__(self, project: Path) -> None:
        self.project = project

    def __call__(self, *words: str, code: int = 0):
        from dor_ecco_assets.cli import app, exit_code
        from dor_ecco_assets.errors import DorEccoError

        result = CliRunner().invoke(app, [*words, "--project", str(self.project)])
        found = result.exit_code
        if isinstance(result.exception, DorEccoError):
            found = exit_code(result.exception)
            result.stderr_bytes += result.exception.message.encode()
        elif result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert found == code, f"exit code {found}\n{result.stdout}\n{result.stderr}"
        return result


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return Cli(make_project(tmp_path_factory.mktemp("project")))
