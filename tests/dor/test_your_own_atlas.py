"""The how-to is followed as it stands: its files, its commands, its Python."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import numpy.testing as npt
import pytest
import yaml
from typer.testing import CliRunner

from dor_ecco_assets.cli import app
from dor_ecco_assets.dor.configuration import case_partitions, load_line
from dor_ecco_assets.samples.dor_inputs import sample_atlas

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

PAGE = Path(__file__).parents[2] / "docs/your-own-atlas.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_makes_an_atlas_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in blocks("yaml"):
        path = Path(text.splitlines()[0].removeprefix("# "))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        assert yaml.safe_load(text)
    line = load_line("my-atlas")
    cases = case_partitions(line.specification)
    assert list(cases) == [
        f"{month}|{polygon:03d}" for month in ("01", "07") for polygon in range(3)
    ]
    sample = sample_atlas(Path("data/inputs"), line, "my-atlas")
    sample.write(cases)
    for command in "".join(blocks("console")).splitlines():
        words = shlex.split(command)
        assert words[0] == "dor-ecco"
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
        if "status" in words:
            assert re.search(r"│ 6 +│ 0 +│ 0 +│ 0 +│ 0 +│", result.stdout), result.stdout
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec("".join(blocks("python")), {})
    found = [float(word) for word in re.findall(r"[\d.]+", said.getvalue())]
    npt.assert_allclose(found, sample.case("07|001").oracle().efficiency, rtol=1e-6)
    assert len(list(Path("data/dor/research_dataset/001/07").iterdir())) == 4
