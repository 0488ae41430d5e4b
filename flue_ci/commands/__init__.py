"""What `flue-ci VERB` does on a local machine: run, demo, doctor, sandboxes, list. Options are parsed by `cli`."""
