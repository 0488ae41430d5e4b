"""Contracts of adapters as pytest classes, for those who write one. Needs pytest and pytest-asyncio (auto mode)."""
