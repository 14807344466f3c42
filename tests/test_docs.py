"""What the pages say of files is true."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_the_readme_gives_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "pip install uv && uv run dor-ecco demo" in text
    assert "pip install uv && uv run pytest" in text


def test_no_tracked_page_names_a_folder_of_one_machine():
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(home|root|work|tmp)/", page.read_text()), page
