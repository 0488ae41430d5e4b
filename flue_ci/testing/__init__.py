"""Contracts of flue-ci's seams as pytest classes, for adapters of ours and of other packages."""
