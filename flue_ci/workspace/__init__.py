"""The repository into a sandbox, and the changes out of it, verified on the host.

Reading repositories of the host belongs to `git`.
"""
