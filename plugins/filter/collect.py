# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One value of many hosts, as a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

DOCUMENTATION = r"""
name: collect
short_description: Collect one value of many hosts
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Reads one value out of C(hostvars) for each named host and returns them by host name.
  - A host that does not have the value is left out, so nothing is assumed about hosts that were
    skipped or unreachable.
positional: hosts, path
options:
  _input:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  hosts:
    description: Names of inventory hosts.
    type: list
    elements: str
    required: true
  path:
    description: Where the value is, keys separated by dots.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Print the kubelet of each worker that answered
  ansible.builtin.debug:
    msg: "{{ hostvars | clustercare.kubeadm.collect(groups['workers'], 'info.host.kubelet.running') }}"
"""

RETURN = r"""
_value:
  description: The values by host name.
  type: dict
  sample: {"w1": "1.35.4", "w2": "1.34.4"}
"""


def collect(hostvars: Mapping[str, Any], hosts: list[str], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for host in hosts:
        value: Any = hostvars.get(host)
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            found[host] = value
    return found


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"collect": collect}
