"""The story of one run, from an empty sandbox to the report. Start with `pipeline`.

It knows no vendor: adapters arrive as values that `assembly` has chosen.
"""
