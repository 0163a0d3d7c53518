# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real runs of Ansible on the real roles and playbooks, in a copy of the collection where modules are played."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[3]


class Run(NamedTuple):
    """How a run of Ansible ended."""

    rc: int
    stdout: str
    # All that it wrote, on one line: Ansible folds its own.
    said: str


class Stage:
    """A directory with such a collection, in which Ansible runs.

    :param real: what of this checkout is there, by path.
    :param played: the text of every other file, by path in the collection.
    """

    def __init__(self, root: Path, real: Iterable[str], played: Mapping[str, str]) -> None:
        self.root = root
        collection = root / "ansible_collections/clustercare/kubeadm"
        for name in real:
            (collection / name).parent.mkdir(parents=True, exist_ok=True)
            (collection / name).symlink_to(ROOT / name)
        for name, text in played.items():
            (collection / name).parent.mkdir(parents=True, exist_ok=True)
            (collection / name).write_text(text)
        (root / "ansible.cfg").write_text("[defaults]\n")

    def inventory(self, groups: Mapping[str, Any], **variables: Any) -> None:
        """Write the inventory, in which every host is this machine.

        :param groups: what stands under ``children`` of the group all.
        :param variables: of every host.
        """
        here = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_become": False,
        }
        everything = {"all": {"vars": {**here, **variables}, "hosts": {"localhost": {}}, "children": groups}}
        (self.root / "inventory.yml").write_text(json.dumps(everything))

    def run(self, *arguments: str) -> Run:
        """ansible-playbook with these arguments."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventory.yml", *arguments],
            cwd=self.root,
            env={
                **os.environ,
                "WORLD": str(self.root),
                "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(self.root),
                "ANSIBLE_HOME": str(self.root / "home"),
                "ANSIBLE_LOCAL_TEMP": str(self.root / "tmp"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_DEPRECATION_WARNINGS": "0",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Run(done.returncode, done.stdout, " ".join((done.stdout + done.stderr).split()))
