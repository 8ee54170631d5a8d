"""Every workload by its name. A new workload is a new module and one line here."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from common.errors import UsageError
from common.text import hint
from workloads.base import Workload

_CLASSES = {
    "kernel_build": "workloads.kernel_build:KernelBuild",
    "fio": "workloads.fio:Fio",
    "sysbench_cpu": "workloads.sysbench:SysbenchCpu",
    "sysbench_memory": "workloads.sysbench:SysbenchMemory",
    "sysbench_fileio": "workloads.sysbench:SysbenchFileio",
    "sysbench_oltp": "workloads.oltp:SysbenchOltp",
    "pgbench": "workloads.pgbench:Pgbench",
    "ripgrep": "workloads.ripgrep:Ripgrep",
    "web": "workloads.web:Web",
    "rocksdb": "workloads.rocksdb:Rocksdb",
    "idle": "workloads.idle:Idle",
    "memory_ramp": "workloads.memory:MemoryRamp",
    "spike": "workloads.memory:Spike",
    "stream": "workloads.memory:Stream",
    "memcached": "workloads.keyvalue:Memcached",
    "valkey": "workloads.keyvalue:Valkey",
}


def names() -> tuple[str, ...]:
    """The names that an experiment may use."""
    return tuple(_CLASSES)


@cache
def get(name: str) -> Workload[Any]:
    """A workload. UsageError, with a suggestion, when there is none of that name."""
    if name not in _CLASSES:
        raise UsageError(f"unknown workload {name!r}", remedy=hint(name, names()))
    module, _, cls = _CLASSES[name].partition(":")
    workload: Workload[Any] = getattr(importlib.import_module(module), cls)()
    return workload
