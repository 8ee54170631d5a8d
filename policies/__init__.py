"""Memory policies: how guests' memory is managed. managers/: what managers in dom0 decide."""
