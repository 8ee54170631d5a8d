"""The daemon that runs a manager in dom0: it reads what Xen and the guests say, has the manager
decide, carries that out, and tells what it did.

It runs under Python 3.11 and its standard library alone, and imports nothing of the testbed but
policies/managers. policies/program.py makes one file of both, which is sent through the session
that starts it (lab/remote/managers.py): nothing is installed, and it ends with that session.
"""
