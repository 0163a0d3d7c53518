# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Running a program on the host: an argv, a deadline, the whole output; never a shell."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Done(NamedTuple):
    """What a finished program left."""

    argv: list[str]
    rc: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The last line that it said, for a sentence."""
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        return (self.err.strip().splitlines() or lines or ["it said nothing"])[-1].strip()


# run(argv, timeout=, env=, stdin=) -> Done; tests put their own in its place
Runner = Callable[..., Done]


def environment(extra: Optional[dict[str, str]] = None) -> dict[str, str]:
    """Our environment with a full PATH and messages in English, so that they can be read."""
    merged = {**os.environ, "LC_ALL": "C", "LANGUAGE": "C", **(extra or {})}
    merged["PATH"] = ":".join(filter(None, [merged.get("PATH"), _PATH]))
    return merged


def run(
    argv: Sequence[str],
    timeout: float = 60.0,
    env: Optional[dict[str, str]] = None,
    stdin: Optional[str] = None,
) -> Done:
    """Run to the end and return output and exit status, whatever it is.

    :raises CareError: the program is not there.
    :raises TimedOut: it did not end in time; it and its children have been killed.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            start_new_session=True,
        )
    except OSError as error:
        raise CareError(f"{argv[0]} cannot be run on this host ({error.strerror}); install it or mend PATH.") from error
    try:
        out, err = process.communicate(stdin.encode() if stdin is not None else None, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise TimedOut(
            f"{' '.join(argv[:3])} did not end within {timeout:g} s and was stopped; it said last: "
            f"{(err or out).decode(errors='replace').strip()[-300:] or 'nothing'}.",
            timed_out=True,
        ) from error
    return Done(list(argv), process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


class Recorder:
    """A runner that remembers what it ran, for the module's result."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def __call__(self, argv: Sequence[str], **more: Any) -> Done:
        self.commands.append(list(argv))
        return run(argv, **more)
