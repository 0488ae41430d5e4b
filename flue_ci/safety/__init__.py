"""Makes untrusted text safe to show or to send, and takes secrets out of it. Decides nothing about who is trusted."""
