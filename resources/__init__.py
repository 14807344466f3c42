"""What Dagster gives to assets: storage, inputs, compute, IO managers."""
