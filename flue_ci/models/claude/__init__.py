"""Anthropic's Messages API: the client, the bytes of requests, the events of streams, the meaning of errors, and the
import of the SDK."""
