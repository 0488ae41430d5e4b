"""The adapter of GitHub. The only place that imports `github` (PyGithub)."""
