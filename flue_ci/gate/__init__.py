"""Decides whether an event starts an agent, before anything is installed: standard library only, Python 3.9 and newer.
Leaves to `action`: reading the specs, and everything that happens after the decision."""
