"""Git on this host, on repositories that strangers wrote: nothing of theirs is ever executed."""
