"""Adapters of forges, where pull requests and issues live."""
