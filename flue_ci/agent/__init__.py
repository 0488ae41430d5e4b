"""Our engine: the loop over a model, its limits and its system prompt. The tools live in `agent.tools`."""
