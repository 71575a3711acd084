"""Commands in the documentation: finding them, and running them one after the other in one interpreter.

``python doc_commands.py FILE`` runs those of FILE, a JSON of page -> list of lists of words, and writes failed.json beside it. ``python
tools/X.py`` runs in this interpreter, since starting one with torch takes seconds; other programs run as they are.
"""

import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

# A block whose first word is one of these is a command.
PROGRAMS = (
    "bash",
    "cp",
    "conda",
    "docker",
    "git",
    "labelme",
    "make",
    "mkdir",
    "mpirun",
    "pip",
    "python",
    "samplug",
    "source",
    "tensorboard",
)
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*$")
_MARKER = re.compile(r"<!-- needs: (.+?) -->")


@dataclass(frozen=True)
class Command:
    """A shell command in a page.

    Attributes:
        page: Its file.
        line: Where its block begins, from 1.
        words: As the shell splits it.
        needs: What the marker before the block says that it needs; empty: a test runs it.
    """

    page: Path
    line: int
    words: tuple[str, ...]
    needs: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}: {shlex.join(self.words)}"


def find_commands(page: Path) -> list[Command]:
    """The commands of a page, in order.

    Blocks are fenced with the name of another language, or they are a command, Python or its output.

    Raises:
        ValueError: A block without language is neither a command nor Python.
    """
    from markdown_it import MarkdownIt

    commands, needs = [], ""
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "html_block" and (marker := _MARKER.search(token.content)):
            needs = marker[1]
        elif token.type == "fence" and token.info not in ("", "bash", "sh"):
            needs = ""
        elif token.type in ("code_block", "fence"):
            line = (token.map or [0])[0] + 1
            if _is_shell(token.content):
                commands += [Command(page, line, words, needs) for words in split(token.content)]
            elif not _is_python(token.content):
                raise ValueError(f"{page}:{line}: neither a command nor Python: fence the block as ```text")
            needs = ""
        elif token.type.endswith("_open") or token.type == "inline":
            needs = ""
    return commands


def split(text: str) -> list[tuple[str, ...]]:
    """The commands of a block: a line each, or several where quotes are open or a backslash ends the line."""
    commands, so_far = [], ""
    for line in text.splitlines():
        so_far += line + "\n"
        try:
            words = shlex.split(so_far.replace("\\\n", " "), comments=True)
        except ValueError:  # an open quote
            continue
        if line.endswith("\\"):
            continue
        for end in _ends(words):
            commands.append(tuple(word.rstrip(";") for word in end))
        so_far = ""
    return commands


def _ends(words: list[str]) -> list[list[str]]:
    """Commands separated by ``;``."""
    commands: list[list[str]] = [[]]
    for word in words:
        commands[-1].append(word)
        if word.endswith(";") and "\n" not in word:
            commands.append([])
    return [command for command in commands if command]


def program(words: tuple[str, ...]) -> str:
    """The program of a command, past the variables set for it."""
    return next((word for word in words if not _ASSIGNMENT.match(word)), "")


def _is_shell(text: str) -> bool:
    first = text.split("\n", 1)[0].split()
    return bool(first) and program(tuple(first)) in PROGRAMS


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def run(words: list[str]) -> None:
    """Run a command; what it leaves of ``sys.argv`` is put back.

    Raises:
        SystemExit: It ended with an error.
        subprocess.CalledProcessError: The same, of another program.
    """
    if words[0] == "python" and words[1].endswith(".py"):
        argv, sys.argv = sys.argv, words[1:]
        try:
            runpy.run_path(words[1], run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
        finally:
            sys.argv = argv
    else:
        subprocess.run([sys.executable if words[0] == "python" else words[0], *words[1:]], check=True)


def run_pages(pages: dict[str, list[list[str]]]) -> dict[str, str]:
    """Run the commands of pages in order.

    Returns:
        Page -> the command that failed, which ends its page.
    """
    failed = {}
    for page, commands in pages.items():
        for words in commands:
            print("$", shlex.join(words), flush=True)
            try:
                run(words)
            except (Exception, SystemExit):
                traceback.print_exc()
                failed[page] = shlex.join(words)
                break
    return failed


if __name__ == "__main__":
    task = Path(sys.argv[1])
    task.with_name("failed.json").write_text(json.dumps(run_pages(json.loads(task.read_text()))))
