"""A program `ssh` that runs what it is told on this machine; nobody answers at `lost`."""

from __future__ import annotations

from pathlib import Path

TEXT = """\
#!/bin/sh
# As ssh and a server do it: options and the host's name go, the rest is joined by spaces and read again by a shell.
echo "$*" | tr '\\n' ' ' >> {log}; echo >> {log}
while [ $# -gt 0 ]; do
    case $1 in -[BbcDEeFIiJLlmOopQRSWw]) shift 2;; -*) shift;; *) break;; esac
done
[ "$1" != lost ] || {{ echo "Connection refused" >&2; exit 255; }}
shift
command="$*"
[ "${{#command}}" -le 9000 ] || exit 255 # as dropbear
# bash becomes the last command, as ssh is one process
if [ $# -eq 0 ]; then exec sh; else exec bash -c "$*"; fi
"""


def fake_ssh(folder: Path) -> Path:
    """A folder for PATH with it. Each of its runs is a line of `sessions` in `folder`."""
    (folder / "bin").mkdir()
    ssh = folder / "bin" / "ssh"
    ssh.write_text(TEXT.format(log=folder / "sessions"))
    ssh.chmod(0o755)
    return folder / "bin"
