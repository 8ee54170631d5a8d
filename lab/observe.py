"""An observation: counters sampled on a host and in its guests while something runs, with no traffic from the controller meanwhile.

dom0 has one resident sampler (lab/remote/sampler.py); each guest has sysstat's sadc, which is in C. Both write to files of their own
machine, which are fetched at the end. What sampling cost is the processor time of those processes over the time they ran: the fraction of
one CPU.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import LabError
from lab import counters
from lab.api import Sample
from lab.machines import DOM0, CommandError, Connections

FOLDER = "/run/overcommit"
SAMPLER = Path(__file__).parent / "remote" / "sampler.py"

_START_DOM0 = f"""
mkdir -p {FOLDER}/observe && cd {FOLDER}/observe || exit
[ -e pid ] && kill "$(cat pid)" 2> /dev/null
rm -f samples.jsonl error pid
cat > sampler.py
setsid python3 -S -E sampler.py INTERVAL samples.jsonl > error 2>&1 < /dev/null &
echo $! > pid
for i in $(seq 100); do
    [ -s samples.jsonl ] && exit 0
    kill -0 "$(cat pid)" 2> /dev/null || break
    sleep 0.2
done
cat error >&2
exit 1
"""

_STOP_DOM0 = f"""
cd {FOLDER}/observe || exit
pid=$(cat pid) && kill $pid 2> /dev/null
for i in $(seq 100); do kill -0 $pid 2> /dev/null || break; sleep 0.1; done
cat samples.jsonl
"""

_START_GUEST = f"""
mkdir -p {FOLDER}/observe && cd {FOLDER}/observe || exit
[ -e pid ] && kill "$(cat pid)" 2> /dev/null
rm -f sadc.bin error pid
sadc=$(ls /usr/libexec/sysstat/sadc /usr/lib/sysstat/sadc 2> /dev/null | head -n 1)
[ -n "$sadc" ] || {{ echo "sysstat is not installed" >&2; exit 1; }}
setsid $sadc -S DISK INTERVAL sadc.bin > error 2>&1 < /dev/null &
echo $! > pid
sleep 0.3
kill -0 "$(cat pid)" || {{ cat error >&2; exit 1; }}
"""

_STOP_GUEST = f"""
cd {FOLDER}/observe || exit
pid=$(cat pid)
# Ticks of the processor (user, system) and the start, in hundredths of a second, before the process is gone.
awk '{{ sub(/.*\\) /, ""); print "cost", $12 + $13, $20 }}' /proc/$pid/stat 2> /dev/null
awk '{{ print "uptime", $1 }}' /proc/uptime
kill -INT $pid 2> /dev/null
for i in $(seq 50); do kill -0 $pid 2> /dev/null || break; sleep 0.1; done
LC_ALL=C sadf -j -U sadc.bin -- -r ALL -S -B -W -u 2> sadf.error || LC_ALL=C sadf -j sadc.bin -- -r ALL -S -B -W -u
"""


class HostObservation:
    """Sampling on one host and these guests every interval_s seconds (guests: whole seconds, at least 1)."""

    def __init__(self, connections: Connections, guests: Sequence[str], interval_s: float) -> None:
        if interval_s <= 0:
            raise LabError("the sampling interval has to be more than 0 s", where=f"observe({interval_s})")
        self._connections = connections
        self._guests = list(guests)
        self._interval = interval_s
        self._cost: dict[str, float] = {}

    def start(self) -> None:
        """Start the samplers. The first reading has been taken when this returns."""
        program = SAMPLER.read_bytes()
        scripts = {name: _START_GUEST.replace("INTERVAL", str(max(1, round(self._interval)))) for name in self._guests}
        self._connections.run(DOM0, _START_DOM0.replace("INTERVAL", f"{self._interval:g}"), timeout=60, stdin=program)
        self._connections.run_all(scripts, timeout=60)

    def stop(self, raw_dir: Path) -> list[Sample]:
        """Stop the samplers, fetch what they wrote into raw_dir, and return the readings in the order of time."""
        outputs = self._connections.run_all({DOM0: _STOP_DOM0, **dict.fromkeys(self._guests, _STOP_GUEST)}, timeout=180)
        raw_dir.mkdir(parents=True, exist_ok=True)
        (raw_dir / "dom0.samples.jsonl").write_text(outputs[DOM0])
        samples, cost = counters.parse_samples(outputs[DOM0].splitlines(), self._guests)
        if cost and cost["wall_seconds"] > 0:
            self._cost[DOM0] = cost["cpu_seconds"] / cost["wall_seconds"]
        for name in self._guests:
            head, brace, rest = outputs[name].partition("{")
            (raw_dir / f"{name}.sadf.json").write_text(brace + rest)
            share = _guest_cost(head)
            if share is not None:
                self._cost[name] = share
            samples += counters.parse_sadf(name, brace + rest)
        return sorted(samples, key=lambda sample: sample.time)

    @property
    def cost(self) -> Mapping[str, float]:
        """Source -> fraction of one of its CPUs. A source whose sampler was killed is missing."""
        return dict(self._cost)


def _guest_cost(head: str) -> float | None:
    figures = dict(line.split(maxsplit=1) for line in head.splitlines() if line.startswith(("cost ", "uptime ")))
    if len(figures) != 2:
        return None
    ticks, start = (float(each) for each in figures["cost"].split())
    wall = float(figures["uptime"]) - start / 100
    return ticks / 100 / wall if wall > 0 else None


def read_once(connections: Connections, guests: Sequence[str]) -> list[Sample]:
    """One reading of everything: Xen and dom0 through the sampler, the guests through /proc and debugfs."""
    program = SAMPLER.read_bytes()
    command = f"mkdir -p {FOLDER} && cat > {FOLDER}/sampler.py && python3 -S -E {FOLDER}/sampler.py once"
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        host = pool.submit(connections.run, DOM0, command, timeout=60, stdin=program)
        texts = connections.run_all(dict.fromkeys(guests, counters.GUEST_SCRIPT), timeout=60)
        readings, _ = counters.parse_samples(host.result().splitlines(), guests)
    if not readings:
        raise CommandError("dom0's counters cannot be read", where=shlex.join(["sampler.py", "once"]))
    for name, text in texts.items():
        readings += counters.parse_guest(name, text)
    return readings
