#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_record
short_description: Note on a host how far its maintenance has come, and tell whether it needs a reboot
version_added: 0.2.0
description:
  - Reads and writes C(/var/lib/clustercare/maintenance.json), from which a run that goes on after another one has died
    knows what is done on this host. Used by the role P(clustercare.kubeadm.node_maintenance#role).
  - Tells the host's boot, and whether it needs a reboot. It does when C(/var/run/reboot-required) is there, when
    C(needs-restarting -r) says so, or when a newer kernel is installed than the one that runs.
author: [clustercare.kubeadm authors (@clustercare)]
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.reconnecting
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  step:
    description:
      - The step to note; V(look) only reads.
      - Every step but V(begun) is refused when the record on the host is of another maintenance.
    type: str
    choices: [look, begun, drained, worked, returned, finished]
    default: look
  maintenance:
    description: The maintenance that the step belongs to; required to note one.
    type: str
  run_id:
    description: The run that notes it, for people.
    type: str
    default: ""
  wish:
    description: What the maintenance is asked to do, noted with V(begun). The same wish is the same command.
    type: dict
    default: {}
seealso:
  - module: clustercare.kubeadm.node_reboot
"""

EXAMPLES = r"""
- name: See whether the host needs a reboot
  clustercare.kubeadm.maintenance_record:
  become: true
  register: host

- name: Note that the node is empty
  clustercare.kubeadm.maintenance_record:
    step: drained
    maintenance: 20261122T031500Z-maintenance
  become: true
"""

RETURN = r"""
record:
  description: The record as it is then; null when there is none.
  returned: success
  type: dict
  sample:
    maintenance: 20261122T031500Z-maintenance
    run: 20261122T031500Z-maintenance
    wish: {reboot: if_needed}
    steps: {begun: "2026-11-22T03:15:04Z", drained: "2026-11-22T03:15:32Z"}
    reboot: {boot_id: 2f6f8a0e-6a40-4c8e-8d5b-3a1d6f0d4c11, asked: "2026-11-22T03:15:40Z"}
boot_id:
  description: The host's boot.
  returned: success
  type: str
  sample: 9a1f6c3d-1c2b-4f8a-8e55-6f0a7b9c2d31
booted:
  description: When it began, in seconds since 1970 by the host's clock.
  returned: success
  type: float
  sample: 1763781345.21
time:
  description: The host's clock, in seconds since 1970.
  returned: success
  type: float
  sample: 1763781420.77
reboot:
  description:
    - Whether a reboot is C(needed), and the C(reasons).
    - C(done) tells that the reboot for which the record asks has happened.
  returned: success
  type: dict
  sample: {needed: true, reasons: ["/var/run/reboot-required is there (linux-image-amd64)"], done: false}
reconnected:
  description: The connection was lost in the middle of the task and made again (O(reconnect_timeout)).
  returned: when that happened
  type: bool
  sample: true
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _maintenance
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import RECONNECT, run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now


def note(module: AnsibleModule) -> dict[str, Any]:
    """Read the record, note a step when there is one, tell of the host."""
    params = module.params
    found = record = _maintenance.load()
    if params["step"] != "look":
        wanted = (params["maintenance"], params["step"], params["run_id"], params["wish"])
        record = _maintenance.noted(found, *wanted, now())
        if record != found and not module.check_mode:
            _maintenance.save(record)
    boot = _maintenance.boot_id()
    reasons = _maintenance.reboot_reasons()
    done = _maintenance.reboot_done(record, boot)
    return {
        "changed": record != found,
        "record": record,
        "boot_id": boot,
        "booted": _maintenance.booted(),
        "time": round(time.time(), 2),
        "reboot": {"needed": bool(reasons), "reasons": reasons, "done": done},
    }


def main() -> None:
    steps = ["look", *_maintenance.STEPS]
    run_module(
        note,
        argument_spec={
            "step": {"type": "str", "choices": steps, "default": "look"},
            "maintenance": {"type": "str"},
            "run_id": {"type": "str", "default": ""},
            "wish": {"type": "dict", "default": {}},
            **RECONNECT,
        },
        required_if=[("step", step, ["maintenance"]) for step in _maintenance.STEPS],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
