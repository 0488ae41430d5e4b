"""Values, errors and protocols that every other room speaks in. It imports nothing of this package."""
