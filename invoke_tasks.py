"""Every task of the testbed: parse, call, print; no logic. Run through the launcher: `./inv --list`, `./inv --help TASK`."""

from __future__ import annotations

import sys
from pathlib import Path

from invoke.collection import Collection
from invoke.program import Program

sys.path.insert(0, str(Path(__file__).resolve().parent))

namespace = Collection()


def main() -> None:
    """Run the tasks named on the command line. Exit codes: common/errors.py."""
    program = Program(name="inv", binary="inv", namespace=namespace, version="0.1.0")
    program.run()


if __name__ == "__main__":
    main()
