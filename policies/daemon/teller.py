"""Tells Xen and guests what memory they are to have, by libxl's library. Run as a child of the
daemon (libxl.py), from this text alone.

    ["target", DOMAIN, KIB]     as `xl mem-set`, which makes it the limit, too
    ["soft", DOMAIN, KIB]       the target alone
    ["maximum", DOMAIN, KIB]    as `xl mem-max`

Each line of standard input is answered by one, [WHY, CPU]: what libxl said, null where it did as it
was told, and the processor time that this process took so far. [null, CPU] at the beginning says
that it is ready. A line of any other form ends it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path

HYPERVISOR = Path("/sys/hypervisor/version")
LIBRARIES = Path("/usr")
PLACES = ("lib", "lib/*", "lib/xen-*/lib", "lib/xen-*/lib/*", "local/lib")
ERRORS = 8
"""XTL_ERROR of xentoollog.h: nothing below it is said."""
MOST_SAID = 200
PR_SET_PDEATHSIG = 1


def found(libraries: Path = LIBRARIES, hypervisor: Path = HYPERVISOR) -> Path:
    """The library of the Xen that runs: another one's does not speak with it. OSError: there is
    none.
    """
    version = ".".join((hypervisor / part).read_text(encoding="ascii").strip() for part in ("major", "minor"))
    for place in PLACES:
        for name in (version, f"{version}.*"):
            for path in sorted(libraries.glob(f"{place}/libxenlight.so.{name}")):
                return path
    raise OSError(f"there is no libxenlight.so.{version}")


class Libxl:
    """A context of the library, and what it said."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None)
        self._library = ctypes.CDLL(str(path))
        # it came with the library, which is linked with it
        create = ctypes.CDLL("libxentoollog.so.1").xtl_createlogger_stdiostream
        self._said = os.memfd_create("said")
        libc.fdopen.restype = ctypes.c_void_p
        libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        stream = libc.fdopen(self._said, b"a+")
        libc.setvbuf(stream, None, 2, 0)  # _IONBF
        create.restype = ctypes.c_void_p
        create.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint]
        self._logger = create(stream, ERRORS, 0)
        context = ctypes.c_void_p
        self._library.libxl_ctx_alloc.argtypes = [
            ctypes.POINTER(context), ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
        ]  # fmt: skip
        self._library.libxl_ctx_free.argtypes = [context]
        self._library.libxl_set_memory_target.argtypes = [
            context, ctypes.c_uint32, ctypes.c_int64, ctypes.c_int, ctypes.c_int,
        ]  # fmt: skip
        self._library.libxl_domain_setmaxmem.argtypes = [context, ctypes.c_uint32, ctypes.c_uint64]
        self._context = context()
        self._open()

    def _open(self) -> None:
        if self._library.libxl_ctx_alloc(ctypes.byref(self._context), 0, 0, self._logger):
            raise OSError(f"libxl cannot be used: {self._words()}")

    def tell(self, what: str, domain: int, kib: int) -> str | None:
        """Why it was not done; None: it was."""
        if what in ("target", "soft"):
            refused = self._library.libxl_set_memory_target(self._context, domain, kib, 0, int(what == "target"))
        elif what == "maximum":
            refused = self._library.libxl_domain_setmaxmem(self._context, domain, kib)
        else:
            raise ValueError(what)
        why = self._words()
        if not refused:
            return None
        # its connection with xenstore may be what failed
        self._library.libxl_ctx_free(self._context)
        self._open()
        return why or f"libxl refused: {refused}"

    def _words(self) -> str:
        said = os.pread(self._said, MOST_SAID, 0).decode("utf-8", "replace").strip()
        os.ftruncate(self._said, 0)
        return said


def answer(why: str | None) -> None:
    """One line for the daemon."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    sys.stdout.write(json.dumps([why, used.ru_utime + used.ru_stime]) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Obey until the daemon is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        libxl = Libxl(found())
    except (OSError, AttributeError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    answer(None)
    for line in sys.stdin:
        what, domain, kib = json.loads(line)
        answer(libxl.tell(what, domain, kib))
    return 0


if __name__ == "__main__":
    sys.exit(main())
