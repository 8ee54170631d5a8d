"""Hosts, guests, the emulator, Ansible runs, counters and the artifacts that they are made of.
Knows nothing of campaigns.
"""
