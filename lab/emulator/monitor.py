"""QEMU's monitor, one command at a time: connect, ask, hang up.

A connection per call costs a millisecond and leaves nothing behind when the controller is killed;
QEMU serves one client at a time, so a second controller waits for its turn instead of finding the
monitor taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import LabError


class MonitorError(LabError):
    """QEMU refused a command, or its monitor did not answer."""


CONNECT_SECONDS = 10.0


def execute(
    socket: Path,
    command: str,
    arguments: Mapping[str, object] | None = None,
    *,
    timeout: float = 30.0,
) -> Any:  # noqa: ANN401
    """Run a QMP command and return its `return` value. timeout in seconds."""
    return asyncio.run(_execute(socket, command, dict(arguments or {}), timeout))


def human(socket: Path, line: str, *, timeout: float = 120.0) -> str:
    """Run a command of the human monitor and return what it printed. Such commands report errors in
    their text only: check it.
    """
    return str(execute(socket, "human-monitor-command", {"command-line": line}, timeout=timeout))


async def _execute(socket: Path, command: str, arguments: dict[str, object], timeout: float) -> Any:  # noqa: ANN401
    from qemu.qmp import QMPClient, QMPError

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # it logs what it raises
    client = QMPClient("overcommit")
    try:
        await asyncio.wait_for(client.connect(str(socket)), CONNECT_SECONDS)
        return await asyncio.wait_for(client.execute(command, arguments), timeout)
    except TimeoutError:  # an OSError, too
        raise MonitorError(
            f"QEMU's monitor did not answer within {timeout:.0f} s",
            where=f"{socket}: {command}",
            why="this machine or its disk is very busy, or QEMU hangs",
            remedy="Run the same command again when there is less to do.",
        ) from None
    except (QMPError, OSError, EOFError) as error:
        raise MonitorError("QEMU's monitor refused", where=f"{socket}: {command}", why=str(error)) from error
    finally:
        # When QEMU went away, what matters has been said above.
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            await asyncio.wait_for(client.disconnect(), 2.0)
