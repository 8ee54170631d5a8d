"""Memory policies: how the memory of guests is managed, each one readable module. managers/: what
the managers in dom0 decide.

README.md says how to write one.
"""
