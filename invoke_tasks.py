"""The one entry: assembles the tasks of tasks/, a module for each namespace. `./inv --list`, `./inv
TASK --help`.

Exit codes are those of common/errors.py. Imports of anything heavy are inside the tasks, so that
`./inv --list` is quick.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from invoke.collection import Collection

    from common.program import run
    from tasks import (
        build,
        campaign,
        experiments,
        lab,
        logs,
        policies,
        results,
        servers,
        testbed,
        tmem,
        workloads,
    )
except (MemoryError, SystemError):  # the interpreter itself raises the second where it has no memory for the first
    sys.stderr.write("inv: there is not enough memory to load the tasks\n  do:    Raise the limit (ulimit -v).\n")
    raise SystemExit(3) from None

namespace = Collection.from_module(testbed)
for module in (build, lab, servers, tmem, policies, workloads, logs, experiments, campaign, results):
    namespace.add_collection(Collection.from_module(module))

if __name__ == "__main__":
    run(namespace)
