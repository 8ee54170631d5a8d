"""From a declared experiment to stored cells: experiment, plan, run, store. Knows labs and
workloads; analysis knows only its records.
"""
