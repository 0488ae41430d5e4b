"""Models as adapters: the vendors' APIs behind the `Model` protocol, recordings and their replay, and what is known of
models (prices, settings that go together). What to send and when to stop is the engine's business."""
