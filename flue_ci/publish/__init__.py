"""Puts a report where people look for it. Which text a report becomes belongs here and to `report`."""
