"""Memory policies: how the memory of guests is managed. managers/: what the managers in dom0 decide."""
