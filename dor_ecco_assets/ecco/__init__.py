"""ECCO granules: model output in MITgcm's layout turned into published NetCDF granules."""
