"""Synthetic inputs whose answers are known in closed form, for the demo, tests and benchmarks."""
