"""Product line: granules of an archive, found in CMR, as virtual stores."""
