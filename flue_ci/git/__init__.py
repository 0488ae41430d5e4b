"""Git on this host, on repositories that strangers wrote: nothing of theirs is ever executed.

What is done with them inside a sandbox belongs to `workspace`.
"""
