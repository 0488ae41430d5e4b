"""The run as one serialisable value, and as text. Where it is published belongs to `publish`."""
