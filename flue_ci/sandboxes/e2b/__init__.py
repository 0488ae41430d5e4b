"""The adapter of E2B. The only package that imports `e2b`."""
