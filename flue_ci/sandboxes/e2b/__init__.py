"""The adapter of E2B. The only place that imports `e2b`."""
