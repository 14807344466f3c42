"""File and store formats; every writer takes a path and publishes nothing."""
