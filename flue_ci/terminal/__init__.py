"""A run for people at a terminal: live progress and the result. CI logs belong to `action`."""
