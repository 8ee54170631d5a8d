"""Where things are: the checkout, and the cache outside it that holds all that is downloaded, built
or running.

The cache is $OVERCOMMIT_CACHE, else $XDG_CACHE_HOME/xen-overcommit, else ~/.cache/xen-overcommit:

    downloads/            source archives, by their own names
    sources/              apt's private state, and which Xen the suite named last
    artifacts/NAME-KEY16/ what was built (lab/build/artifacts.py)
    labs/LAB/HOST/        disks, keys, logs of an emulated host
    key/                  the key pair that opens every image built with this cache
    logs/                 logs of Ansible runs that failed
    environments/         Python environments of single tasks (common/environments.py)
    packed/               images as they are sent to servers (lab/build/packing.py)
    servers/NAME/         disks of an emulated server (lab/emulator/servers.py)
    tmp/                  work in progress; what no process holds is removed

What of it this checkout does not need, lab/prune.py removes.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from common import files
from common.errors import MissingError

REPO = Path(__file__).resolve().parent.parent
PLAYBOOKS = REPO / "playbooks"
INVENTORY = REPO / "inventory"
BUILD_VARIABLES = INVENTORY / "group_vars" / "all.yml"

_TROUBLE = re.compile(r"[\s%:]")

KEPT_LOGS = 20
"""Failed runs whose logs are kept."""


def cache() -> Path:
    """The cache folder, made when it is missing. MissingError when it cannot be."""
    if explicit := os.environ.get("OVERCOMMIT_CACHE"):
        path = Path(explicit).expanduser()
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        path = (Path(base) if base else _home() / ".cache") / "xen-overcommit"
    if found := _TROUBLE.search(str(path.absolute())):
        raise MissingError(
            "the cache cannot be there",
            where=str(path.absolute()),
            why=f"{found[0]!r} in a path means something else to programs that build images and reach guests",
            remedy="Set OVERCOMMIT_CACHE to a folder without blanks, % and : in its path.",
        )
    return _folder(path.absolute())


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise MissingError(
            "there is no folder for the cache",
            why="HOME is not set, and the user database does not have this user",
            remedy="Set OVERCOMMIT_CACHE to a folder that is yours, and HOME for SSH and Ansible.",
        ) from None


def downloads() -> Path:
    return _folder(cache() / "downloads")


def sources() -> Path:
    return _folder(cache() / "sources")


def artifacts() -> Path:
    return _folder(cache() / "artifacts")


def tmp() -> Path:
    return _folder(cache() / "tmp")


def logs() -> Path:
    return _folder(cache() / "logs")


def lab_dir(lab: str) -> Path:
    """The folder of a lab: its run-time state."""
    return _folder(cache() / "labs" / lab)


def host_dir(lab: str, host: str) -> Path:
    """The folder of one host of a lab: overlays, pid file, ssh_config, logs."""
    return _folder(lab_dir(lab) / host)


def lab_key() -> Path:
    """The private half of the key pair that opens every image of this cache; the public half is
    beside it, `.pub`.

    Made at the first call. It guards test machines that listen on 127.0.0.1 only, so it has no
    passphrase.
    """
    folder = _folder(cache() / "key", mode=0o700)
    key = folder / "id_ed25519"
    with files.lock(folder / "lock"):
        if not key.with_suffix(".pub").exists():
            key.unlink(missing_ok=True)
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "xen-overcommit lab", "-f", str(key)]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except FileNotFoundError:
                raise MissingError(
                    "ssh-keygen is missing", remedy="Install openssh-client, or run ./inv setup."
                ) from None
            except subprocess.CalledProcessError as error:
                raise MissingError(
                    "the lab's key pair could not be made", where=str(key), why=error.stderr.strip()
                ) from error
    return key


def _folder(path: Path, mode: int = 0o755) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        raise MissingError(
            "a folder of the cache cannot be made",
            where=str(path),
            why=str(error.strerror),
            remedy="Free space, or set OVERCOMMIT_CACHE to a folder that you can write to.",
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        status = path.stat()
        raise MissingError(
            "a folder of the cache may not be read and written by this user",
            where=str(path),
            why=f"it is user {status.st_uid}'s, with mode {status.st_mode & 0o777:o}; this is user {os.geteuid()}",
            remedy="Set OVERCOMMIT_CACHE to a folder of your own, or have its owner hand it over.",
        )
    return path
