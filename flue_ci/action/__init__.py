"""What `flue-ci action` and `flue-ci publish` do inside a GitHub Actions job, from the event to the exit code.

The decision whether an event concerns us belongs to `gate`; the run itself to `run`.
"""
