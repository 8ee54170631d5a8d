"""Xen servers, emulated and physical alike: guests, clocks, what each host and guest runs."""
