"""The adapter of GitHub: REST and GraphQL, read and written as our own values."""
