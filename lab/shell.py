# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a command; when it fails, say so with the last lines that it wrote."""

from __future__ import annotations

import os
import shlex
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import LabError

TAIL_LINES = 15
SHOWN_LETTERS = 200


class Result(NamedTuple):
    rc: int
    stdout: str
    stderr: str


class CommandFailed(LabError):
    """A command ended with another exit code than 0, or did not end in time."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | Path | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> Result:
    """Run a command to its end and return what it wrote.

    :param env: added to this process's environment.
    :param stdin: text for its standard input, or the path of a file to read it from.
    :param timeout: seconds; passing it is a failure also when ``check`` is false.
    :param check: raise CommandFailed when the exit code is not 0.
    """
    words = [str(word) for word in argv]
    source = stdin.open("rb") if isinstance(stdin, Path) else None
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            input=stdin.encode() if isinstance(stdin, str) else None,
            stdin=None if isinstance(stdin, str) else source or subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"The command {words[0]} is not there ({error.filename}).") from error
    except subprocess.TimeoutExpired as error:
        result = Result(-1, _text(error.stdout), _text(error.stderr))
        raise CommandFailed(f"{brief(words)} did not end within {timeout:g} s{tail(result)}", result) from error
    finally:
        if source:
            source.close()
    result = Result(done.returncode, _text(done.stdout), _text(done.stderr))
    if check and result.rc:
        raise CommandFailed(f"{brief(words)} failed with exit code {result.rc}{tail(result)}", result)
    return result


def output(argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a command writes to its standard output, without the last line break."""
    return run(argv, cwd=cwd, env=env).stdout.rstrip("\n")


def brief(words: Sequence[str]) -> str:
    """A command as one would type it, cut where only a machine would read on."""
    return textwrap.shorten(shlex.join(words), SHOWN_LETTERS, placeholder=" ...")


def tail(result: Result) -> str:
    """The last lines of a result, as the end of a sentence."""
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()[-TAIL_LINES:]
    return ":\n" + "\n".join(f"    {line}" for line in lines) if lines else " and wrote nothing."


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
