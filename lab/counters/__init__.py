"""What is read from hypervisor, dom0 and guests, parsed into samples, and sampled while something
runs.
"""
