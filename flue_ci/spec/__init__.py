"""Agent specs and the other trusted files of a repository: reads them, checks them, names every mistake at its place.
Leaves to `assembly` what a run is made of, and to `gate` whether an event starts an agent."""
