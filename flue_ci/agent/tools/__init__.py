"""The tools that the model may call, acting on a sandbox."""
