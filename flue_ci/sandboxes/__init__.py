"""Adapters of sandboxes. The contract that they fulfil is `core.ports.Sandbox`."""
