"""A run as one serialisable value, as text and as files. Where it is published is decided in `publish`."""
