"""The command line: Invoke, with the testbed's exit codes, and without a traceback for a user's
mistake.

Every task passes through here, so what users and machines do to all of them is told here: wrong
usage, an interruption, a reader that has gone, and the surroundings of common/surroundings.py.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import sys
from collections.abc import Collection as Names
from collections.abc import Iterator
from contextlib import suppress

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.parser.context import ParserContext
from invoke.program import Program

from common import surroundings
from common.errors import UsageError, UserError
from common.text import harmless, suggestion

VERSION = "0.1.0"
INTERRUPTED = 130
"""Exit code after Ctrl-C, SIGTERM or SIGHUP, as shells have it for the first."""

MANY_FILES = {"logs.check", "tmem.check-kernel"}
"""Tasks whose words are files, as many as are given."""

LIST = "./inv --list"


class Testbed(Program):
    """Invoke's program, with errors as one message: what, where, why and what to do."""

    _made: Parser | None = None

    def parse_core(self, argv: list[str] | None) -> None:
        try:
            super().parse_core(argv)
        except ParseError as error:
            raise _usage(str(error), LIST) from None

    def parse_tasks(self) -> None:
        self._made = self._make_parser()
        contexts = {str(context.name): context for context in self._made.contexts.values()}
        aliases = {str(alias): context for context in contexts.values() for alias in context.aliases}
        check_words(list(self.core.unparsed), {**contexts, **aliases})
        try:
            super().parse_tasks()
        except ParseError as error:
            raise _usage(_plainer(str(error)), f"{LIST}, or ./inv TASK --help") from None

    def parse_cleanup(self) -> None:
        wanted = self.args.help.value
        if isinstance(wanted, str) and wanted not in self.parser.contexts:
            raise _no_task(wanted, self.parser.contexts)
        root = self.args.list.value
        if isinstance(root, str):
            try:
                self.collection.subcollection_from_path(root)
            except KeyError:
                raise _usage(f"there is no namespace {root!r}", LIST) from None
        super().parse_cleanup()

    def print_task_help(self, name: str) -> None:
        """As Invoke does it, with the words that the task takes in its usage."""
        context = self.parser.contexts[name]
        words = ["FILE..."] if name in MANY_FILES else [str(each.name).upper() for each in context.positional_args]
        options = context.help_tuples()
        usage = [f"Usage: ./{self.binary} {name}", *words, *(["[--options]"] if options else [])]
        lines = (inspect.getdoc(self.collection[name]) or "").splitlines()
        print("\n".join([" ".join(usage), "", *(f"  {line}".rstrip() for line in lines), "", "Options:"]))
        if options:
            self.print_columns(options)
        else:
            print("  none\n")

    def execute(self) -> None:
        try:
            super().execute()
        except KeyboardInterrupt:
            raise Exit(
                "inv: interrupted. What is complete is kept; the same command goes on from there.", INTERRUPTED
            ) from None

    def _make_parser(self) -> Parser:
        """Made once: making it takes the options' descriptions from the tasks."""
        made, self._made = self._made, None
        return made if made is not None else super()._make_parser()


def check_words(words: list[str], contexts: dict[str, ParserContext]) -> None:
    """Exit with UsageError's code for a task that is none, and for an option that its task does not
    have.

    Invoke takes an unknown option for the value of a positional argument that is still missing.
    """
    context: ParserContext | None = None
    missing: list[str] = []  # positional arguments that have no value yet, by the names of their options
    rest = iter(words)
    for word in rest:
        if context is not None and word.startswith("-") and word != "-":
            given = _check_option(word, context, rest)
            missing = [name for name in missing if name != given]
        elif context is not None and missing:
            missing.pop(0)
        elif word in contexts:
            context = contexts[word]
            missing = [str(each.name) for each in context.positional_args]
        elif context is None:
            raise _no_task(word, contexts)
        else:
            raise _usage(
                f"{context.name} takes no {word!r}, and there is no task of that name", f"./inv {context.name} --help"
            )


def _check_option(word: str, context: ParserContext, rest: Iterator[str]) -> str | None:
    """The name of the argument that an option is for, if that is told by its first word; its value
    is taken from the rest.
    """
    name, equals, _ = word.partition("=")
    short = name if name in context.flags or name.startswith("--") else name[:2]  # -n3, or several short ones in one
    if short not in context.flags and short not in context.inverse_flags:
        near = suggestion(name, [flag for flag in context.flags if flag.startswith("--")])
        meant = f"did you mean {near}? " if near else ""
        raise _usage(f"{context.name} has no option {name}", f"{meant}./inv {context.name} --help")
    if short not in context.flags:
        return None
    last = name if short == name else f"-{name[-1]}"  # of several short ones in one, the last may have a value
    argument = context.flags[last] if last in context.flags else context.flags[short]
    if argument.takes_value and not equals and not argument.optional and (short == name or last in context.flags):
        next(rest, None)
    return str(argument.name)


def _no_task(word: str, contexts: Names[str]) -> Exit:
    if word.startswith("-"):
        return _usage(f"there is no option {word}", LIST)
    near = suggestion(word, contexts)
    meant = f"did you mean {near}? " if near else ""
    return _usage(f"there is no task {word[:100]!r}", f"{meant}{LIST}")


def _plainer(said: str) -> str:
    """Invoke names an option as it is written in Python."""
    match = re.match(r"Flag <Argument: ([\w-]+).* needed value", said)
    return f"--{match[1].strip('_').replace('_', '-')} needs a value" if match else said


def _usage(what: str, remedy: str) -> Exit:
    return Exit(f"inv: {UsageError(what, remedy=remedy)}", UsageError.exit_code)


def arguments(argv: list[str], tasks: Collection | None = None) -> list[str]:
    """Argument vector for Invoke. It takes `TASK --help` for the task's first positional, so that
    becomes `--help TASK`; a namespace alone becomes the list of its tasks. tasks: all there are.
    """
    words = argv[1:]
    if len(words) > 1 and not words[0].startswith("-") and _asks_for_help(words, tasks):
        return [argv[0], "--help", words[0]]
    namespace = tasks.collections.get(words[0]) if tasks is not None and len(words) == 1 else None
    if namespace is not None and not namespace.default:
        return [argv[0], "--list", words[0]]
    if words and words[0] in MANY_FILES:
        return [*argv[:2], *_named_files(words[1:])]
    return argv


def _asks_for_help(words: list[str], tasks: Collection | None) -> bool:
    """`-h` may be a short option of the task's own."""
    if "--help" in words[1:]:
        return True
    own = False
    if tasks is not None and words[0] in tasks.task_names:
        described = dict(tasks[words[0]].help)
        own = any("h" in argument.names for argument in tasks[words[0]].get_arguments())
        tasks[words[0]].help = described  # which asking for its arguments took away
    return "-h" in words[1:] and not own


def _named_files(words: list[str]) -> list[str]:
    """Words of a task that takes any number of files, each file as an option of its own: Invoke
    would take the second for a task.
    """
    named: list[str] = []
    for word in words:
        is_value = bool(named) and named[-1] in ("--file", "--before", "-f", "-b")
        is_option = word.startswith("-") and word != "-"
        named.append(word if is_value or is_option else f"--file={word}")
    return named


def run(tasks: Collection) -> None:
    """Run the tasks named on the command line, and exit. Being ended, or losing the terminal, is an
    interruption: things are put in order first.
    """
    surroundings.have_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, signal.default_int_handler)
    try:
        try:
            program = Testbed(name="inv", binary="inv", namespace=tasks, version=VERSION)
            program.run(arguments(sys.argv, tasks))
        finally:
            sys.stdout.flush()
    except Exception as error:
        if isinstance(error, BrokenPipeError) and surroundings.reader_gone():
            raise SystemExit(_quietly()) from None
        explained = surroundings.explain(error)
        if explained is None:
            raise
        raise SystemExit(_said(explained)) from None


def _said(error: UserError) -> int:
    with suppress(OSError):  # whoever closed it knows the exit code all the same
        print(harmless(f"inv: {error}"), file=sys.stderr, flush=True)
    return error.exit_code


def _quietly() -> int:
    """Nobody reads: have the interpreter's last flush find somebody who does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return surroundings.CLOSED_PIPE
