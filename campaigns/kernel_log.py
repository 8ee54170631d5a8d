"""Whether a kernel's or Xen's log says that something broke, line by line. What is searched for is
data, in campaigns.kernel_log_rules.

Each line decides alone. It may come from dmesg, from `xl dmesg`, from a journal or a syslog file,
with their times and prefixes or without: what stands before the message is taken off first.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count

from campaigns.kernel_log_rules import (
    ALLOWED,
    FORBIDDEN,
    FORBIDDEN_PROGRAM,
    FORBIDDEN_XEN,
    UNUSED_DEVICES,
    Pattern,
)

LONGEST = 4096
"""Characters of a message that are searched at a time: kernels write less than 1024 in a line, and
a file may be one line of megabytes."""

_OVERLAP = 256
"""Characters that two such windows share, so that what lies on their border is seen."""

_CLOCK = r"\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?"
_DATE = rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?"
_MONTH = r"(?:[^\W\d_]{3,6}\.?|\d{1,2}[月월])"
_MONTH_DAY = rf"(?:{_MONTH}\s?[ \d]?\d|\d{{1,2}}\.? {_MONTH})"
"""In whatever language: `Nov 28`, `nov. 28`, `28. Nov`, `marras 28`, `11月 28`."""

_DELTA = r"<\s*\+?\d+\.\d+>"
_SECONDS = rf"\s*(?:\+?\d+\.\d+(?:\s*{_DELTA})?s?|{_DELTA})\s*"
_BRACKET = (
    rf"\[(?:{_SECONDS}|\s*[TC]\d+\s*|(?:[A-Z][a-z]{{2}} )?{_MONTH_DAY} "
    rf"{_CLOCK}(?: \d{{4}})?|{_DATE}|{_CLOCK}|[^\[\]]{{3,20}}{_CLOCK} \d{{4}}|\s*[0-9a-f]{{8,16}}\s*)"
    rf"(?: {_DELTA})?\]\s?"
)

_RECORD = r"\[ {0,5}\d{1,8}\.\d{6}\](?=[ \[])"
"""The kernel's own time, with which a record begins."""

_PREFIXES = tuple(
    re.compile(expression)
    for expression in (
        r"<\d{1,3}>(?:1 (?=\d{4}-))?",  # a level, as the kernel and syslog write it
        r"\d+,\d+,\d+,[-a-z][^;]{0,80};",  # /dev/kmsg
        (  # dmesg -x
            r"(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local\d)\s*:"
            r"\s*(?:emerg|alert|crit|err|warn|notice|info|debug)\s*:\s?"
        ),
        _BRACKET,
        r"\[VT-D\]\s?",
    )
)
_XEN = re.compile(r"\(XEN\) ?")
_CONSOLE = re.compile(r"\(d\d+\) ?")
_SYSLOG_TIME = re.compile(
    rf"(?:(?:[A-Z][a-z]{{2}} )?{_MONTH_DAY} (?:\d{{4}} )?{_CLOCK}(?: \d{{4}})?|(?:[A-Z][a-z]{{2}} "
    rf")?{_DATE}|[^\W\d_]{{1,4}}\.? \d{{4}}-\d\d-\d\d {_CLOCK} (?:[A-Z]{{2,5}}|[+-]\d\d)|"
    r"\[\s*\d+\.\d+ <\s*\d+\.\d+ >\]|"  # journalctl -o short-delta
    rf"\d\d:\d\d:\d\d(?:[.,]\d+)?|\d{{10}}|\d{{1,11}}\.\d{{3,9}}|{_BRACKET.removesuffix(chr(92) + 's?')})\s+"
)
_KERNEL_OF_A_HOST = re.compile(r"(?:[\w.:@/-]+\s+){0,2}kernel(?:\[\d+\])?(?::| - - (?:- )?)\s?")
_OF_A_PROGRAM = r"(?:[\w@./\\:()-]+\[\d+\]|sudo|su|doas|logger|root): "
_HOST = re.compile(rf"[\w.-]+\s+(?={_OF_A_PROGRAM})")
"""Only before a program with its process: `XFS (xvda1): ` and `EDAC MC0: ` begin with no host."""

_ANYTHING = re.compile(rf"(?:(?!\((?:XEN|d\d))[^\[\]*]){{1,100}}(?={_RECORD})")
"""What stands before the kernel's own time, such as the prompt of a console."""

_STAMP = re.compile(_RECORD)

_PROGRAM = re.compile(_OF_A_PROGRAM)
_CARRIER = re.compile(rf"(?:[\w.-]+\s+)?[\w@./-]+(?:\[\d+\])?: (?=\(XEN\) |\(d\d+\) |{_RECORD})")
"""A program that hands on a console, such as `xl[812]: `."""

_STATUS = re.compile(r"\[(?: {2}OK {2}|FAILED|DEPEND| INFO | TIME | SKIP |\*{1,3} *)\] ?")
"""What systemd writes to a console, which a kernel's message follows on the same line."""

_PROCESS_OF_KERNEL = re.compile(
    r"[^\[]*\[\d+\]: (?:segfault|general protection|trap |bad frame|unhandled signal|potentially)|"
    r"\w+: page allocation (?:failure|stalls)"
)
_DEVICE = re.compile(
    r"(?:\b(?:dev(?:ice)?[ =]+|(?:on|for) (?:device )?(?=\S+-\d+\.?$))|^(?:[\w-]+ \(|block )(?=[\w!/-]+\)?:))"
    r"(?P<device>unknown-block\(\d+,\d+\)|[\w!/-]+)"
)
_ONLY_UNUSED = re.compile(UNUSED_DEVICES)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07)")


@dataclass(frozen=True)
class Breakage:
    """A line of a log that a run that counts may not have. line: without spaces around it. number:
    of the line in its log, from 1. kind: see KINDS.
    """

    source: str
    line: str
    reason: str
    kind: str = ""
    number: int = 0


@dataclass(frozen=True)
class _Message:
    text: str
    xen: bool
    program: bool


def findings(logs: Mapping[str, str]) -> list[Breakage]:
    """Every line that says that something broke, in order. logs: source -> text."""
    return [finding for source, text in logs.items() for finding in _of_log(source, text)]


def classify(line: str) -> Pattern | None:
    """What a line says broke; None when it says nothing of the kind, or says it of what no
    experiment uses.
    """
    return _of_line(line) if len(line) <= LONGEST else _classified(line)


def _classified(line: str) -> Pattern | None:
    """Where two records share a line, each may tell of a breakage."""
    starts = [match.start() for match in _STAMP.finditer(line)][1:]
    whole = (line, *(line[begin:end] for begin, end in itertools.pairwise((0, *starts))))
    return next((found for part in whole if (found := _of_record(part)) is not None), None)


def _of_record(line: str) -> Pattern | None:
    message = _message(line)
    for window in _windows(message.text):
        for expression, pattern in _searched(message):
            match = expression.search(window)
            if match is not None and (message.program or not _harmless(window, match)):
                return pattern
    return None


_of_line = lru_cache(maxsize=2**14)(_classified)
"""Logs of many cells have the same lines."""


def _of_log(source: str, text: str) -> Iterator[Breakage]:
    for number, line in enumerate(text.split("\n"), start=1):
        pattern = classify(line)
        if pattern is not None:
            yield Breakage(source, line.strip(), pattern.reason, pattern.kind, number)


def _message(line: str) -> _Message:
    rest, xen = line.strip().strip("\ufeff"), False
    if "\x1b" in rest:
        rest = _ESCAPES.sub("", rest)
    if rest.startswith("{"):
        rest = _of_journal(rest)
    before = ""
    while rest != before:
        before = rest
        rest = _shorter(rest)
        if match := _XEN.match(rest):
            rest, xen = rest[match.end() :], True
        if match := _CONSOLE.match(rest):  # what a guest wrote to Xen's console
            rest, xen = rest[match.end() :], False
    rest = rest.lstrip()
    program = not xen and bool(_PROGRAM.match(rest)) and not _PROCESS_OF_KERNEL.match(rest)
    return _Message(rest, xen, program)


def _shorter(rest: str) -> str:
    """A line without one more of what may stand before its message."""
    for prefix in _PREFIXES:
        if match := prefix.match(rest):
            rest = rest[match.end() :]
    if (match := _STATUS.match(rest)) and _ANYTHING.match(rest, match.end()):
        return rest[match.end() :]
    if match := _CARRIER.match(rest) or _KERNEL_OF_A_HOST.match(rest) or _ANYTHING.match(rest):
        return rest[match.end() :]
    if match := _SYSLOG_TIME.match(rest):
        rest = rest[match.end() :]
        if _KERNEL_OF_A_HOST.match(rest) is None and (host := _HOST.match(rest)):
            rest = rest[host.end() :]
    return rest


def _of_journal(line: str) -> str:
    """A line of `journalctl -o json` as a syslog file has it; any other as it is."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    message = entry.get("MESSAGE")
    if not isinstance(message, str):
        return line
    told = [str(entry[key]) for key in ("_TRANSPORT", "SYSLOG_IDENTIFIER") if key in entry]
    if not told or "kernel" in told:
        return message
    return f"{re.sub(r'[^-A-Za-z0-9_.]', '_', told[-1])}[0]: {message}"


def _windows(text: str) -> Iterator[str]:
    yield text[:LONGEST]
    for start in range(LONGEST, len(text), LONGEST - _OVERLAP):
        yield text[start - _OVERLAP : start + LONGEST - _OVERLAP]


_Rules = tuple[tuple[re.Pattern[str], Pattern], ...]


def _searched(message: _Message) -> _Rules:
    if message.program:
        return _program_rules()
    return _xen_rules() if message.xen else _kernel_rules()


@cache
def _kernel_rules() -> _Rules:
    return _compiled(FORBIDDEN)


@cache
def _xen_rules() -> _Rules:
    return _compiled(FORBIDDEN_XEN + FORBIDDEN)


@cache
def _program_rules() -> _Rules:
    return _compiled(FORBIDDEN_PROGRAM)


@cache
def _allowed() -> _Rules:
    return _compiled(ALLOWED)


def _compiled(patterns: tuple[Pattern, ...]) -> _Rules:
    return tuple((re.compile(_numbered(pattern.expression)), pattern) for pattern in patterns)


def _numbered(expression: str) -> str:
    """The expression with groups of different names: Python takes each name once."""
    number = count(1)
    return re.sub(r"\(\?P<device>", lambda _: f"(?P<device{next(number)}>", expression)


def _harmless(text: str, match: re.Match[str]) -> bool:
    """Whether a forbidden line is about a device that no experiment uses, or is an announcement
    after all.
    """
    devices = [device for device in match.groupdict().values() if device]
    if not devices:
        devices = [found["device"] for found in _DEVICE.finditer(text)]
    # a journal's device is that of its file system with an inode: loop0-8
    names = [re.sub(r"-\d+$", "", device.removeprefix("/dev/")) for device in devices]
    if names and all(_ONLY_UNUSED.fullmatch(name) for name in names):
        return True
    return any(expression.search(text) for expression, _ in _allowed())
