#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: node_reboot
short_description: Reboot a host once for a maintenance, also if the run dies in the middle
version_added: 0.2.0
description:
  - Notes the present boot in C(/var/lib/clustercare/maintenance.json), starts the reboot and waits until the host
    answers from another boot, by its C(boot_id).
  - A second run for the same O(maintenance) that finds the host in another boot than the noted one knows that the
    reboot has happened, and does not start another.
  - Drain the node first; this module does not.
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details: With the same O(maintenance).
  platform:
    support: full
    platforms: posix
    details: Hosts with systemd.
options:
  maintenance:
    description:
      - What the reboot is for. As long as no other maintenance is noted on the host, it is rebooted once for this name.
      - In tasks files of the role C(node_maintenance) leave reboots to the role; another name would hide what it noted.
    type: str
    required: true
  timeout:
    description: Seconds in which the host has to answer from its new boot.
    type: float
    default: 600
seealso:
  - module: clustercare.kubeadm.maintenance_record
  - module: ansible.builtin.reboot
"""

EXAMPLES = r"""
- name: Reboot the drained node
  clustercare.kubeadm.node_reboot:
    maintenance: kernel-2026-11
    timeout: 900
  become: true
"""

RETURN = r"""
boot_id:
  description: The boot before and after; after is null in check mode.
  returned: success
  type: dict
  sample: {before: 2f6f8a0e-6a40-4c8e-8d5b-3a1d6f0d4c11, after: 9a1f6c3d-1c2b-4f8a-8e55-6f0a7b9c2d31}
done_before:
  description: Whether it was rebooted for this O(maintenance) already.
  returned: success
  type: bool
  sample: false
seconds:
  description: How long the host was waited for.
  returned: when it was rebooted
  type: float
  sample: 41.3
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _maintenance
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now


def reboot(module: AnsibleModule) -> dict[str, Any]:
    """The host's half: note the boot, then let systemd begin the reboot when this module has answered."""
    name = module.params["maintenance"]
    record, boot = _maintenance.load(), _maintenance.boot_id()
    ours = record is not None and record.get("maintenance") == name
    if ours and record is not None and _maintenance.reboot_done(record, boot):
        return {"done_before": True, "boot_id": {"before": record["reboot"]["boot_id"], "after": boot}}
    if not module.check_mode:
        kept = record if ours and record is not None else {"maintenance": name, "wish": {}, "steps": {"begun": now()}}
        _maintenance.save({**kept, "reboot": {"boot_id": boot, "asked": now()}})
        # One name each, so that a second request in the same boot is no error; the boot ends them all.
        unit = f"--unit=clustercare-reboot-{os.getpid()}"
        done = run(["systemd-run", unit, "--on-active=1", "--timer-property=AccuracySec=1s", "systemctl", "reboot"])
        if done.rc != 0:
            raise CareError(f"The reboot could not be started: {done.last_words}. The host was not rebooted.")
    return {"changed": True, "done_before": False, "boot_id": {"before": boot, "after": None}}


def main() -> None:
    run_module(
        reboot,
        argument_spec={
            "maintenance": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 600},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
