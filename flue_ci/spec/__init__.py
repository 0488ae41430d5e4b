"""The agent spec and the other files that the trusted ref provides: read strictly, with errors that name file, line
and key."""
