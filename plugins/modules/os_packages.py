#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: os_packages
short_description: Upgrade the operating system's packages, those of Kubernetes held back
version_added: 0.2.0
description:
  - Upgrades all packages of a node by apt or dnf. kubeadm, kubelet, kubectl, cri-tools and kubernetes-cni stay as they
    are, whether or not they are on hold; their upgrade is the business of the role
    P(clustercare.kubeadm.upgrade#role).
  - What an interrupted dpkg has left half-done is finished.
  - Changed configuration files are kept. Drain the node first; a container runtime may be restarted.
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.reconnecting
attributes:
  check_mode:
    support: full
    details: Refreshes the package lists all the same, for without them it could not tell.
  diff_mode:
    support: none
    details: RV(packages) names what changes.
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  state:
    description: V(available) only says what could be upgraded; V(upgraded) upgrades it.
    type: str
    choices: [available, upgraded]
    default: upgraded
  timeout:
    description: Seconds for all of it.
    type: float
    default: 1800
seealso:
  - module: clustercare.kubeadm.kube_packages
"""

EXAMPLES = r"""
- name: See what could be upgraded
  clustercare.kubeadm.os_packages:
    state: available
  become: true
  register: os

- name: Upgrade it
  clustercare.kubeadm.os_packages:
  become: true
"""

RETURN = r"""
packages:
  description:
    - What was upgraded, installed, removed or finished; with O(state=available) and in check mode, what would be.
    - After a failure, what should have been.
  returned: always, except when it could not be looked at
  type: list
  elements: str
  sample: [libssl3, linux-image-amd64]
reconnected:
  description:
    - The connection was lost in the middle of the task and made again (O(reconnect_timeout)). An upgrade then counts
      as a change, for what the first try did is not known.
  returned: when that happened
  type: bool
  sample: true
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.2
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import RECONNECT, run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._os_packages import manager
from ansible_collections.clustercare.kubeadm.plugins.module_utils._record import locked
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


def upgrade(module: AnsibleModule) -> dict[str, Any]:
    """Refresh, look, upgrade, and look again."""
    params = module.params
    found = manager(params["timeout"])
    with locked(Deadline(params["timeout"], "timeout")):
        found.refresh()
        packages = found.upgradable()
        if params["state"] == "available" or not packages or module.check_mode:
            return {"changed": params["state"] == "upgraded" and bool(packages), "packages": packages}
        before = found.installed()
        try:
            found.upgrade()
            left = found.upgradable()
        except CareError as error:
            raise CareError(
                f"{error.message} What was begun is finished when this is run again.",
                changed=found.installed() != before,
                packages=packages,
            ) from error
        changed = found.installed() != before
    if left:
        raise CareError(
            f"These packages could still be upgraded after the upgrade: {', '.join(left)}. Look at why they were left.",
            changed=changed,
            packages=packages,
        )
    return {"changed": changed, "packages": packages}


def main() -> None:
    run_module(
        upgrade,
        argument_spec={
            "state": {"type": "str", "choices": ["available", "upgraded"], "default": "upgraded"},
            "timeout": {"type": "float", "default": 1800},
            **RECONNECT,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
