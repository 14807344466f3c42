"""Grids: geometry, areas and wet masks of LLC90, POP, lat-lon and web-mercator grids."""
