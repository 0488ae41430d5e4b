"""Puts the repository into a sandbox, and brings the changes out of it, verified on the host.

Reading repositories of the host belongs to `git`.
"""
