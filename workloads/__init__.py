"""Loads that run on any machine: one readable module each, with every parameter and metric
documented beside it. README.md says how to write one.
"""

from workloads.registry import get, names

__all__ = ["get", "names"]
