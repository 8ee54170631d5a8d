"""SSH, and the programs and scripts that the lab sends to other machines. Each of those stands
alone: nothing has to be installed there.
"""
