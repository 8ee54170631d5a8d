"""QEMU: its process, its monitor, its drives and snapshots, and what accelerates it."""
