"""The leaf that every package may import: errors, units and the records that cross package
boundaries.
"""
