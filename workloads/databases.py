"""The databases that workloads start, fill and end: MariaDB and PostgreSQL of Debian's packages,
each on the data that its package has made when it was installed, and reachable by a socket alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.machines import Machine
from common.needs import Needs
from workloads import machines, scripts

FOLDER = "/run/overcommit/database"
"""On the machine: the server's socket, its process number, its log."""

NAME = "overcommit"


@dataclass(frozen=True)
class Database:
    """packages: Debian's, which bring the tools as well. sysbench: how sysbench is told of it."""

    name: str
    packages: tuple[str, ...]
    sysbench: tuple[str, ...]

    @property
    def needs(self) -> Needs:
        """What a guest's image has to have."""
        return Needs(self.packages)

    def start(self, buffer: int) -> str:
        """The body of a prepare script: it runs, with an empty database. buffer: bytes of its own
        cache. Prints the fact NAME=VERSION.
        """
        stop = scripts.text("service-stop.sh", f"{FOLDER}/pid")
        return stop + scripts.text(f"{self.name}-start.sh", FOLDER, buffer)


DATABASES = {
    each.name: each
    for each in (
        Database(
            "mariadb",
            ("mariadb-server",),
            ("--db-driver=mysql", f"--mysql-socket={FOLDER}/sock", "--mysql-user=root", f"--mysql-db={NAME}"),
        ),
        Database(
            "postgresql",
            ("postgresql",),
            ("--db-driver=pgsql", f"--pgsql-host={FOLDER}", "--pgsql-user=postgres", f"--pgsql-db={NAME}"),
        ),
    )
}


def stop(machine: Machine) -> None:
    """End whichever runs, in order: it writes what it has."""
    script = scripts.text("service-stop.sh", f"{FOLDER}/pid")
    machines.check_script(machine, script, what="end the database", timeout_s=600)
