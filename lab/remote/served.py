"""Operations on tmem, asked of a guest's kernel: the module tmem_test with mode=serve
(tmem/linux/test/serve.c), which a file in debugfs commands.

For benchmarks and tests, which run the script on the guest each in their own way.
"""

from __future__ import annotations

from lab.remote import scripts

FOLDER = "/sys/kernel/debug/tmem_test"

Answers = dict[int, int]
"""Answer -> how often it was given. Negative ones are errors of the ABI (docs/tmem.md)."""


def asking(command: str) -> str:
    """The shell script that has one command done, and prints its answers."""
    return scripts.command("ask-served.sh", FOLDER, command)


def parse_answers(text: str) -> Answers:
    """What the script prints: pairs `answer:times`. ValueError when it is something else."""
    pairs = (pair.split(":") for pair in text.split())
    return {int(answer): int(count) for answer, count in pairs}
