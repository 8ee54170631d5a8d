"""kvload, compiled here, against a tiny server, and what is read of what it prints."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plumbum import local

from common.errors import OutputsError
from common.needs import Needs, together
from tests.unit.workloads_local import DATA
from workloads import machines, programs, registry, scripts
from workloads.base import ParameterError
from workloads.kvload_output import read_run

HERE = Path("kvload.out")
TEXT = (DATA / "kvload" / "memcached.txt").read_text()
PAUSE_S = 0.4

Answer = Callable[[bytes], bytes]


class Server:
    """memcached's protocol on a port of its own, as far as kvload speaks it."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.stored: dict[bytes, bytes] = {}
        self.answer = answer or (lambda reply: reply)
        self.pause = 0.0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                verb, key, *rest = line.split()
                if verb == b"set":
                    self.stored[key] = lines.read(int(rest[-1]) + 2)[:-2]
                    reply = b"STORED\r\n"
                elif (value := self.stored.get(key)) is None:
                    reply = b"END\r\n"
                else:
                    reply = b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(value), value)
                if self.pause:
                    time.sleep(self.pause)
                    self.pause = 0.0
                connection.sendall(self.answer(reply))


@pytest.fixture(scope="module")
def kvload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "THERE", str(tmp_path_factory.mktemp("programs")))
        patch.setattr(scripts, "RAW", str(tmp_path_factory.mktemp("raw")))
        script = scripts.prepare(programs.prepare("kvload"), reset_memory=False)
        machines.check_script(local, script, what="compile", timeout_s=120)
        yield programs.path("kvload")


def call(kvload: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([kvload, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def test_every_key_is_stored_and_found_again(kvload: str) -> None:
    server = Server()
    assert call(kvload, "memcached", server.port, "fill", 300, 100).stdout == "kvload 1\nstored 300\nend\n"
    assert len(server.stored) == 300
    done = call(kvload, "memcached", server.port, "run", 1, 300, 100, 0.9, 80, 3, 0, 500)
    run = read_run(done.stdout, 500, HERE)
    assert run.hits == run.gets.counted > run.sets.counted > 0


def test_keys_that_are_not_there_are_missed(kvload: str) -> None:
    done = call(kvload, "memcached", Server().port, "run", 1, 300, 100, 0, 100, 1, 0, 50)
    assert read_run(done.stdout, 50, HERE).hits == 0


def test_a_skewed_load_asks_for_few_keys_most_often(kvload: str) -> None:
    asked = {}
    for skew in (0, 0.99):
        server = Server()
        call(kvload, "memcached", server.port, "run", 1, 10000, 16, skew, 0, 1, 0, 1000)
        asked[skew] = len(server.stored)  # keys that were written at all
    assert asked[0] > 900
    assert asked[0.99] < 700


def test_what_waits_while_the_server_stands_still_is_counted(kvload: str) -> None:
    """An open loop: of 200 requests in a second, those that come in the pause are late, too."""
    latencies = {}
    for rate in (200, 0):
        server = Server()
        server.pause = PAUSE_S
        done = call(kvload, "memcached", server.port, "run", 1, 10, 16, 0, 100, 1, rate, 200)
        counts = read_run(done.stdout, 200, HERE).gets.counts
        latencies[rate] = sum(count for bound, count in counts.items() if bound > PAUSE_S / 4 * 1e9)
    assert latencies[200] >= 0.5 * PAUSE_S * 200
    assert latencies[0] < latencies[200] / 4


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda reply: reply.replace(b"STORED", b"SERVER_ERROR out of memory"), "SERVER_ERROR out of memory"),
        (
            lambda reply: b"VALUE k 0 16\r\n0123456789abcdef\r\nEND\r\n" if b"STORED" not in reply else reply,
            "not written",
        ),
        (lambda reply: b"VALUE k 0 x\r\n" if b"STORED" not in reply else reply, "was answered by"),
    ],
)
def test_a_wrong_answer_ends_the_run(kvload: str, answer: Answer, why: str) -> None:
    done = call(kvload, "memcached", Server(answer).port, "run", 1, 20, 16, 0, 50, 1, 0, 100)
    assert done.returncode == 1
    assert why in done.stderr
    assert "end" not in done.stdout.split()


def test_captured_runs_exactly() -> None:
    run = read_run(TEXT, 4000, HERE)
    assert (run.gets.counted, run.hits, run.sets.counted) == (3776, 2011, 224)
    assert (run.seconds, run.gets.longest, run.sets.longest) == (1.999608, 7279093, 4370916)
    assert read_run((DATA / "kvload" / "valkey.txt").read_text(), 4000, HERE).hits == 3776


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kvload 1\n", "kvload 2\n"),
        ("end\n", ""),
        ("requests 4000", "requests 3999"),
        ("get 3776 2011", "get 3776 3777"),
        ("get 3776", "get 3775"),
        ("latency set", "latency del"),
        ("requests 4000 1.999608", "requests 4000 0.000000"),
        ("requests 4000 1.999608", "requests 4000 nan"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(OutputsError, match="kvload's output"):
        read_run(TEXT.replace(old, new, 1), 4000, HERE)


def test_each_says_what_it_needs_of_the_image() -> None:
    needs = [registry.get(name).most_needs() for name in ("memcached", "valkey", "spike", "fio")]
    assert together(needs) == Needs(("memcached", "valkey-server", "valkey-tools"), ("kvload", "memload"))


def test_fewer_requests_than_connections_are_refused() -> None:
    with pytest.raises(ParameterError, match="nothing to do"):
        registry.get("valkey").parse({"requests": 3, "connections": 4})
