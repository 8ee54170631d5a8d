"""The one entry: assembles the tasks of tasks/, a module for each namespace. `./inv --list`, `./inv TASK --help`.

Exit codes are those of common/errors.py. Imports of anything heavy are inside the tasks, so that `./inv --list` is quick.
"""

from __future__ import annotations

import sys
from pathlib import Path

from invoke.collection import Collection

sys.path.insert(0, str(Path(__file__).resolve().parent))

from common.program import run
from tasks import build, campaign, lab, logs, policies, results, testbed, tmem, workloads

namespace = Collection.from_module(testbed)
for module in (build, lab, tmem, policies, workloads, logs, campaign, results):
    namespace.add_collection(Collection.from_module(module))

if __name__ == "__main__":
    run(namespace)
