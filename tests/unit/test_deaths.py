"""What tools, shells and the C library say when a process died, beside figures like any others."""

from __future__ import annotations

import pytest

from workloads import complaints

DEATHS = [
    ("251128  5:12:51 [ERROR] mysqld got signal 11 ;", "a server died of a signal: SIGSEGV (11)"),
    ("Received signal 6 (Aborted)", "SIGABRT (6)"),
    ("812:M 28 Nov 2026 05:12:51.123 # valkey 8.0.1 crashed by signal: 11, si_code: 1", "SIGSEGV (11)"),
    ("stress-ng: error: [812] stress-ng-vm: (813) terminated on signal: 9 (SIGKILL)", "SIGKILL (9)"),
    ("fio.service: Main process exited, code=killed, status=9/KILL", "SIGKILL (9)"),
    ("Killed: 9", "SIGKILL (9)"),
    ("timeout: sending signal TERM to command 'fio'", "ended by a signal"),
    ("fish: Job 1, 'fio' terminated by signal SIGKILL (Forced quit)", "ended by a signal"),
    ("stress-ng: info: [812] vm: 2 instances killed by OOM killer", "ended by a signal"),
    ("pgbench: error: client 3 script 0 aborted in command 4 query 0: ERROR:  deadlock detected", "lost a part"),
    ("[ERROR] InnoDB: Database page corruption on disk or a failed file read", "a database broke"),
    ('ERROR:  invalid page in block 12 of relation "base/5/16384"', "a database could not use its files"),
    ("fio: pid=4711, got signal=9", "SIGKILL (9)"),
    ("2026/01/01 00:00:00 [alert] 1#1: worker process 12 exited on signal 11 (core dumped)", "SIGSEGV (11)"),
    ("LOG:  server process (PID 812) was terminated by signal 9: Killed", "SIGKILL (9)"),
    ("collect2: fatal error: ld terminated with signal 9 [Killed]", "SIGKILL (9)"),
    ("make[1]: *** [scripts/Makefile.build:287: kernel/exit.o] Killed", "SIGKILL (9)"),
    ("make: *** [Makefile:1: all] Error 137", "SIGKILL (9)"),
    ("bash: line 1: 12345 Killed                  sleep 100", "SIGKILL (9)"),
    ("./x.sh: line 3:   812 Bus error               (core dumped) ./foo", "SIGBUS (7)"),
    ("Trace/breakpoint trap (core dumped)", "SIGTRAP (5)"),
    ("Bad system call", "SIGSYS (31)"),
    ("File size limit exceeded", "SIGXFSZ (25)"),
    ("clang: error: clang frontend command failed due to signal (use -v to see invocation)", "signal"),
    ("timeout: the monitored command dumped core", "signal"),
    ("pgbench: error: client 0 aborted in command 5 (SQL) of script 0; perhaps the backend died", "lost a part"),
    ("Run was aborted; the above results are incomplete.", "lost a part"),
    ("FATAL: mysql_drv_query() returned error 2013 (Lost connection to MySQL server during query)", "lost a part"),
    ("free(): double free detected in tcache 2", "memory damaged"),
    ("realloc(): invalid next size", "memory damaged"),
    ("munmap_chunk(): invalid pointer", "memory damaged"),
    ("tcache_thread_shutdown(): unaligned tcache chunk detected", "memory damaged"),
    ("*** buffer overflow detected ***: terminated", "memory damaged"),
    ("Fatal glibc error: malloc assertion failure in sysmalloc: (old_top == initial_top (av))", "memory damaged"),
    ("thread 'main' panicked at src/main.rs:1:2:", "memory damaged"),
    ("memory allocation of 123 bytes failed", "no memory left"),
    ("  what():  std::bad_alloc", "no memory left"),
    ("-OOM command not allowed when used memory > 'maxmemory'.", "no memory left"),
    ("sh: 1: Cannot fork", "no memory left"),
    ("-bash: fork: retry: Resource temporarily unavailable", "no memory left"),
    ("sh: 1: cannot create /x: Disk quota exceeded", "read or written"),
    ("accept: Too many open files", "read or written"),
    ("write: File too large", "read or written"),
    ("cat: x: Stale NFS file handle", "read or written"),
    ("./x.sh: line 3:   812 Quit                    (core dumped) ./foo", "SIGQUIT (3)"),
    ("FATAL: mysql_drv_query() returned error 2013 (Lost connection to server during query)", "lost a part"),
    ("ERROR 2006 (HY000): Server has gone away", "lost a part"),
    ("FATAL:  terminating connection due to administrator command", "lost a part"),
    ("pgbench: error: client 3 receive failed: no connection to the server", "lost a part"),
    ("thread 'main' (812) panicked at src/main.rs:1:2:", "memory damaged"),
    ("fatal runtime error: stack overflow, aborting", "memory damaged"),
    ("PANIC: unprotected error in call to Lua API (not enough memory)", "no memory left"),
    ("make: vfork: Resource temporarily unavailable", "no memory left"),
    ("smalloc: OOM. Consider using --alloc-size to increase the shared memory available.", "no memory left"),
    ("unable to create thread 0: Resource temporarily unavailable", "could not be started"),
    ("FATAL: pthread_create() for thread #3 failed. errno = 11 (Resource temporarily unavailable)", "be started"),
    ("memload: the page at byte 4096 has other contents than were written", "all of its work"),
    ("rg: /usr/src/linux/mm/slab.c: Bad address (os error 14)", "all of its work"),
]

ORDINARY = [
    "fio: option --exitall_on_signal is not set",
    "  CC      kernel/signal/caught.o",
    "InnoDB: Number of pools: 1",
    "signal: none",
    "  CC      kernel/signal.o",
    "  CC      mm/oom_kill.o",
    "Terminated threads: 0",
    "number of failed transactions: 0 (0.000%)",
    "Alarm clock set for 30 seconds",
    "include/linux/slab.h:12: warning: 'kfree()' is deprecated",
    "write: IOPS=1200, BW=4800KiB/s",
    "0 clients aborted",
    "threads: 4 started",
    "Quitting",
    "pgbench: client 0 got an error in command 3 (SQL) of script 0; ERROR:  could not serialize access",
]


@pytest.mark.parametrize(("line", "meaning"), DEATHS, ids=[line for line, _ in DEATHS])
def test_a_death_is_heard_and_named(line: str, meaning: str) -> None:
    ((said, meant),) = complaints.deaths(f"before\n{line}\nafter\n")
    assert said == line.strip()
    assert meaning in meant


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_words_are_none(line: str) -> None:
    assert complaints.deaths(line) == []
