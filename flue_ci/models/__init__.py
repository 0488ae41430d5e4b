"""Adapters of models: vendors' APIs, recordings and their replay, and what is known of models and prices."""
