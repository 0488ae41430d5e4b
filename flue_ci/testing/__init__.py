"""Contracts of the adapters as pytest classes, for whoever writes one. Needs pytest and pytest-asyncio (auto mode)."""
