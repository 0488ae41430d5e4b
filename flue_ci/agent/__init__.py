"""Our engine: the loop over a model, its limits, its system prompt and its tools. It knows no vendor: models and
sandboxes arrive as protocols."""
