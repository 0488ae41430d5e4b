"""The contracts of our seams as pytest classes, for adapters of ours and of other packages: one subclass proves one.

They need pytest and pytest-asyncio (auto mode), and know nothing of the adapters themselves.
"""
