# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup plugin controller inside of a real run of Ansible."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

from ansible_collections.clustercare.kubeadm.plugins.module_utils._controller import read_entry

ROOT = Path(__file__).resolve().parents[3]
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "TOLD {{ lookup('clustercare.kubeadm.controller') | to_json | urlencode }} END"
"""


def test_it_tells_of_the_run_that_asks(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    run = subprocess.Popen(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", "play.yml"],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    me = read_entry(run.pid)
    output = run.communicate(timeout=60)[0]
    found = re.search("TOLD (.*) END", output)
    assert run.returncode == 0 and found, output
    told = json.loads(unquote(found[1]))
    assert me is not None and (told["pid"], told["start"]) == (me.pid, me.start)
    assert {"pid": me.pid, "start": me.start} in told["running"]
    assert told["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
