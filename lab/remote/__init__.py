"""Programs that the lab sends to other machines and runs there. Each stands alone: the machine has Python's own library only."""
