#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_hook
short_description: Wait until something outside of Kubernetes is true
version_added: 0.2.0
description:
  - Asks a command or a URL until it says yes, such as that Ceph is healthy again, that Longhorn has rebuilt its
    replicas, or that a database's replica has caught up.
  - Fails when O(timeout) passes first, with what was said last; at once when the program is not there, the address has
    no TLS, or its server cannot be trusted.
  - Changes nothing by itself. The command may be run many times until it says yes; what it does must bear that.
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
    details: Asks nothing in check mode.
  diff_mode:
    support: none
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  name:
    description: What has to be true, for people.
    type: str
    required: true
  command:
    description:
      - A program and its arguments, run without a shell; exit code 0 is a yes.
      - Passwords do not belong here, for others can see arguments; let the program read them from a file.
    type: list
    elements: str
  url:
    description:
      - An C(https://) address; an answer from 200 to 299 is a yes. Redirections are not followed.
      - The server's certificate is always verified. C(http://) is taken only for this very machine,
        and then asked past any proxy.
    type: str
  ca_path:
    description: File with the certificate authority of O(url); the machine's own authorities when not given.
    type: path
  timeout:
    description: Seconds in which it has to become true.
    type: float
    default: 300
  interval:
    description: Seconds between two questions.
    type: float
    default: 5
"""

EXAMPLES = r"""
- name: Wait until Ceph is healthy again
  clustercare.kubeadm.maintenance_hook:
    name: Ceph is healthy
    command: [kubectl, -n, rook-ceph, exec, deploy/rook-ceph-tools, --, ceph, health, --check]
    timeout: 1800
  delegate_to: localhost

- name: Wait until the shop answers
  clustercare.kubeadm.maintenance_hook:
    name: the shop answers
    url: https://shop.example.org/healthz
  delegate_to: localhost
"""

RETURN = r"""
asked:
  description: How many times it was asked.
  returned: always
  type: int
  sample: 4
said:
  description: What was said last when it was no; null for a yes.
  returned: always
  type: str
  sample: "kubectl ended with 1: HEALTH_WARN"
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
"""

from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._hook import ask_command, ask_url, refuse_unverified
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until


def hook(module: AnsibleModule) -> dict[str, Any]:
    """Ask until it says yes."""
    params = module.params
    argv, url = params["command"] or [], params["url"]
    if not argv and not url:
        raise CareError(f"The command of the hook '{params['name']}' is empty.", asked=0, said=None)
    if url:
        refuse_unverified(url)
    deadline = Deadline(params["timeout"], "timeout")
    asked, said = 0, None

    def look() -> Optional[str]:
        nonlocal asked, said
        asked += 1
        left = max(1.0, deadline.left)
        said = ask_url(url, params["ca_path"], left) if url else ask_command(argv, left)
        return said

    if not module.check_mode:
        try:
            wait_until(look, deadline, f"Waiting until {params['name']}", interval=params["interval"])
        except TimedOut as error:
            raise TimedOut(error.message, timed_out=True, asked=asked, said=said) from error
    return {"asked": asked, "said": said}


def main() -> None:
    run_module(
        hook,
        argument_spec={
            "name": {"type": "str", "required": True},
            "command": {"type": "list", "elements": "str"},
            "url": {"type": "str"},
            "ca_path": {"type": "path"},
            "timeout": {"type": "float", "default": 300},
            "interval": {"type": "float", "default": 5},
        },
        mutually_exclusive=[("command", "url")],
        required_one_of=[("command", "url")],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
