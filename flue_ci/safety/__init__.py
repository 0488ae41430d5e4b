"""Untrusted text made safe to show or to send, and secrets taken out of it."""
