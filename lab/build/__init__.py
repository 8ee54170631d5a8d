"""Artifacts: what they are made of, how they are built, fetched and kept; Ansible runs; the
packages of this machine.
"""
