"""The adapter of Anthropic's Messages API. The only place that imports `anthropic`."""
