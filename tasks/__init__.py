"""The tasks, a module for each namespace: parse, call, print; no logic."""
