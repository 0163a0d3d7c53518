# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the benchmarks share: a lab of their own, a clock, a table for people and a last line for machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "integration"))

# For the benchmarks, which find everything here.
from harness import PROJECT as PROJECT
from harness import Lab as Lab
from harness import Played as Played
from harness import play as play
from harness import wait_for as wait_for


def say(text: str) -> None:
    """What goes on, on the error stream: the results alone are on the output."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


@contextmanager
def laboratory(name: str, masters: int, workers: int, kubernetes: str = "1.34.4") -> Iterator[Lab]:
    """A lab for the length of the block, also when that is broken off; $LAB_NAME goes before the name."""
    if os.geteuid() != 0:
        sys.exit("A benchmark makes a lab, and labs need root.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lab = Lab(os.environ.get("LAB_NAME", name))
    say(f"making the lab {lab.name}: {masters} + {workers} nodes, Kubernetes {kubernetes}")
    try:
        lab.up(masters, workers, kubernetes)
        yield lab
    finally:
        say(f"removing the lab {lab.name}")
        lab.run("down")


@contextmanager
def saved(lab: Lab) -> Iterator[Callable[[], None]]:
    """Keep the lab as it is for the length of the block; calling what is yielded brings it back to this state."""
    lab.forget(lab.name)
    say(f"saving the lab {lab.name}")
    began = time.time()
    lab.save(lab.name)
    settle(lab, began)

    def back() -> None:
        say(f"bringing the lab {lab.name} back as it was saved")
        began = time.time()
        lab.load(lab.name)
        settle(lab, began)

    try:
        yield back
    finally:
        lab.forget(lab.name)


def settle(lab: Lab, since: float = 0, seconds: float = 300) -> None:
    """Wait until every pod is Ready, so that what follows a start of machines is not measured.

    :param since: when the machines were started; what containers said before does not count.
    """

    def look() -> bool:
        with suppress(AssertionError):  # an API server that is not back yet
            return not lab.unready_pods(since)
        return False

    wait_for(f"all pods of the lab {lab.name} are Ready", look, seconds)


def run(argv: Sequence[str | Path], log: Path | None = None, timeout: float = 3600, **environment: str) -> float:
    """Run a command to its end and return its wall seconds; one that fails ends the benchmark with its last words."""
    began = time.monotonic()
    done = subprocess.run(
        [str(word) for word in argv],
        env={**os.environ, **environment},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
    )
    seconds = time.monotonic() - began
    if log:
        log.write_text(done.stdout)
    if done.returncode:
        sys.exit(f"{Path(argv[0]).name} ended with {done.returncode}:\n" + "\n".join(done.stdout.splitlines()[-30:]))
    return seconds


def well(played: Played) -> Played:
    """A run of a playbook that went well; any other ends the benchmark with its last words."""
    if played.rc:
        sys.exit(f"ansible-playbook ended with {played.rc}:\n" + "\n".join(played.output.splitlines()[-40:]))
    return played


def ssh_config(lab: Lab, path: Path) -> Path:
    """What a person would have in ~/.ssh/config, with the connection sharing that Ansible uses by default."""
    status = lab.status()
    hosts = [f"Host {name}\n  HostName {one['address']}" for name, one in status["machines"].items()]
    everywhere = {
        "User": status["ssh_user"],
        "IdentityFile": status["ssh_key"],
        "UserKnownHostsFile": status["known_hosts"],
        "LogLevel": "ERROR",
        "Compression": "yes",
        "ControlMaster": "auto",
        "ControlPersist": "60s",
        "ControlPath": path.parent / "ssh-%C",
    }
    path.write_text("\n".join([*hosts, "Host *", *(f"  {name} {value}" for name, value in everywhere.items())]) + "\n")
    return path


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a head, the first column to the left, the others, which are figures, to the right."""
    cells = [list(head), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    print(f"\n{title}\n")
    for number, row in enumerate(cells):
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(["", first, *others]).rstrip())
        if not number:
            print("  ".join(["", *("-" * width for width in widths)]))
    print()


def _text(cell: object) -> str:
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def figures(**found: Any) -> None:
    """The last line: one object of JSON, seconds and ratios rounded."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}
    print(json.dumps(rounded), flush=True)
