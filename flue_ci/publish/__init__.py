"""Puts a report where people look for it. The text of a report comes from `report`, that of comments is made here."""
