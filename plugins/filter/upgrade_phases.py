# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.clustercare.kubeadm.plugins.module_utils._report import phases_of

DOCUMENTATION = r"""
name: upgrade_phases
short_description: Collect the registered results of an upgrade's phases
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Reads each host's registered variables whose names begin with a prefix, and returns them as phases in the order in
    which an upgrade does them.
  - Skipped tasks are left out. Seconds are the RV(ignore:elapsed) that the modules of this collection return.
positional: hosts, prefix
options:
  _input:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  hosts:
    description: Inventory names.
    type: list
    elements: str
    required: true
  prefix:
    description: What the names of the variables begin with; the rest is the phase's name.
    type: str
    default: __upgrade_phase_
"""

EXAMPLES = r"""
- name: Show how long each phase took
  ansible.builtin.debug:
    msg: "{{ hostvars | clustercare.kubeadm.upgrade_phases(groups['masters'] + groups['workers']) }}"
"""

RETURN = r"""
_value:
  description: >-
    By inventory name, a list of phases, each with C(phase), C(seconds), C(changed), C(failed) and C(details).
  type: dict
  sample: {"w1": [{"phase": "drain", "seconds": 4.2, "changed": true, "failed": false, "details": {}}]}
"""


def upgrade_phases(
    hostvars: Mapping[str, Any], hosts: list[str], prefix: str = "__upgrade_phase_"
) -> dict[str, list[dict[str, Any]]]:
    return phases_of(hostvars, hosts, prefix)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"upgrade_phases": upgrade_phases}
