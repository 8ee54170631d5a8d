"""SSH, and the programs that the lab sends to other machines. Each of those stands alone: the
machine has Python's own library only.
"""
