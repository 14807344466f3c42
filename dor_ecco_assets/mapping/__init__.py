"""Mapping factors between grids: build them, apply them, save them."""
