"""Costs against honest baselines; `python -m benchmarks` prints them."""
