"""What the demo's own configuration says of its atlas."""

import numpy as np

from dor_ecco_assets.dor.configuration import case_partitions, load_line
from dor_ecco_assets.pyramids.configuration import load_atlas_maps
from dor_ecco_assets.samples.demo_inputs import ATLAS, write_limits
from dor_ecco_assets.samples.dor_inputs import sample_atlas


def test_changes_of_the_sample_are_seen_in_its_colours(tmp_path):
    """The largest change of a case takes a good part of the colours, and little is beyond them."""
    configs = tmp_path / "configs"
    write_limits(configs / "pyramids/atlas.yaml")
    (configs / "dor.yaml").write_text(ATLAS)
    shown, shipped = load_atlas_maps(str(configs)), load_atlas_maps()
    assert shown.variables.keys() == shipped.variables.keys()
    line = load_line(str(configs))
    sample = sample_atlas(tmp_path / "inputs", line, str(configs))
    case = sample.case(next(iter(case_partitions(line.specification))))
    views = {name: np.array(view, "f8") for name, view in case.fill_month(0).items()}
    wet = case.ocean.wet
    for variable, (name, twin) in {
        "FG": ("FG_CO2", "FG_ALT_CO2"),
        "PH": ("PH", "PH_ALT_CO2"),
        "pCO2SURF": ("pCO2SURF", "pCO2SURF_ALT_CO2"),
    }.items():
        change = np.abs(views[name][0] - views[twin][0])[wet]
        low, high = shown.variables[variable].clim["delta"]
        assert low == -high
        assert 0.3 * high < change.max() < 1.5 * high, variable
        low, high = shown.variables[variable].clim["experimental"]
        values = views[name][0][wet]
        assert values.max() - values.min() > 0.2 * (high - low), variable
        assert np.mean((values < low) | (values > high)) < 0.05, variable
