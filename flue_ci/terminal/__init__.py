"""A run for people at a terminal: live progress and the result. What is said in CI logs belongs to `action`."""
