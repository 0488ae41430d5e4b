"""What the model can do: one class a tool, and the toolbox that runs the calls of a turn."""
