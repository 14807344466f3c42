"""An atlas of all 2,760 cases, small in everything else."""

import time

import pytest

from dor_ecco_assets.lineage.workspace import Outcome, Policy, make_all
from dor_ecco_assets.pyramids.assess import fill_breaches, map_stores, statuses
from dor_ecco_assets.pyramids.products import atlas_cases
from tests.pyramids.sample import INDEX, MAPS, every_case


@pytest.mark.slow
def test_all_cases_are_written_and_listed_in_two_seconds(tmp_path):
    sample = every_case(tmp_path)
    workspace, cases = sample.workspace, tuple(atlas_cases(sample.atlas))
    made = list(make_all(workspace, MAPS, cases, Policy()))
    assert all(isinstance(each, Outcome) for each in made)
    start = time.process_time()
    found = statuses(sample.storage, MAPS, (690, 4))
    assert time.process_time() - start < 2
    assert found.sum() == 2760
    start = time.process_time()
    standings = [state.standing for state in sample.workspace.states(MAPS)]
    assert time.process_time() - start < 2
    assert standings == ["up to date"] * 2760
    workspace.make(INDEX, "")
    for store in map_stores(sample.storage, MAPS):
        assert fill_breaches(store, (689, 3)) == []
