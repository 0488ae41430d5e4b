"""Adapters of forges, where pull requests and issues live. What a forge is asked for stands in `core.ports`."""
