"""Docker's engine as the worker's runtime: the only place that imports `docker`."""
