# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""``make demo``: a real cluster goes one minor up under load, and not one request may fail."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .cluster import is_ready

PROJECT = Path(__file__).resolve().parents[1]
LAB = PROJECT / "lab" / "lab"
NAME = "demo"
RATE = 10


def lab(*arguments: str) -> None:
    """A command of the lab whose progress goes to the screen."""
    subprocess.run([str(LAB), *arguments], env={**os.environ, "LAB_NAME": NAME}, check=True)


def ask(*arguments: str) -> Any:
    """A command of the lab that answers with JSON, whether or not it is content with it."""
    done = subprocess.run(
        [str(LAB), *arguments], env={**os.environ, "LAB_NAME": NAME}, text=True, stdout=subprocess.PIPE, check=False
    )
    return json.loads(done.stdout)


def upgrade(inventory: str, target: str, run_dir: Path) -> int:
    ansible = Path(sys.executable).parent / "ansible-playbook"
    command = [str(ansible), "-i", inventory, str(PROJECT / "upgrade-cluster.yml")]
    variables = json.dumps({"kubernetes_version": target, "run_dir": str(run_dir)})
    return subprocess.run([*command, "-e", variables], cwd=PROJECT, stdin=subprocess.DEVNULL, check=False).returncode


def problems(nodes: list[dict[str, Any]], target: str, probe: dict[str, Any]) -> list[str]:
    """What the demo must not end with, in words."""
    found = list(probe["problems"])
    for node in nodes:
        name, version = node["metadata"]["name"], node["status"]["nodeInfo"]["kubeletVersion"]
        if version != f"v{target}":
            found.append(f"{name} runs {version}, not v{target}")
        if not is_ready(node):
            found.append(f"{name} is not Ready")
        if node["spec"].get("unschedulable"):
            found.append(f"{name} is cordoned")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--from", dest="before", default="1.34.4", metavar="VERSION")
    parser.add_argument("--to", dest="after", default="1.35.4", metavar="VERSION")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running at the end")
    options = parser.parse_args()

    run_dir = Path(tempfile.mkdtemp(prefix="demo-", dir=Path.home()))
    lab("up", "--masters", "1", "--workers", "2", "--kubernetes", options.before)
    try:
        lab("workload", "start", "--rate", str(RATE))
        began = time.monotonic()
        rc = upgrade(ask("status", "--json")["inventory"], options.after, run_dir)
        seconds = time.monotonic() - began
        probe = ask("workload", "stop")
        nodes = ask("kubectl", "get", "nodes", "-o", "json")["items"]
    finally:
        if not options.keep:
            lab("down")

    found = problems(nodes, options.after, probe) + ([f"ansible-playbook ended with {rc}"] if rc else [])
    for problem in found:
        print(f"demo: {problem}", file=sys.stderr)
    requests = probe["requests"]
    print(
        f"demo: {len(nodes)} nodes {options.before} -> {options.after} in {seconds:.0f} s; "
        f"{requests['sent']} requests, {requests['failed']} failed; report: {run_dir / 'report.md'}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
