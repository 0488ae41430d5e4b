"""flue-ci runs coding agents in CI without trusting them: the loop and every secret stay outside of the sandbox."""

__version__ = "0.1.0"
