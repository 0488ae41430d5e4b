"""Adapters of sandboxes, and the table that finds them by name. The contract that they keep is `core.ports.Sandbox`."""
