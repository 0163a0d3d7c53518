# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.clustercare.kubeadm.plugins.module_utils._report import markdown
from ansible_collections.clustercare.kubeadm.plugins.module_utils._report import summary as in_brief

DOCUMENTATION = r"""
name: upgrade_report_markdown
short_description: Show the report of an upgrade to people
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Turns the data of P(clustercare.kubeadm.upgrade_report#filter) into Markdown, or into a few lines for the screen.
options:
  _input:
    description: The report.
    type: dict
    required: true
  summary:
    description: A few plain lines instead of the whole report.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Write the report
  ansible.builtin.copy:
    dest: /var/tmp/report.md
    content: "{{ report | clustercare.kubeadm.upgrade_report_markdown }}"
    mode: "0600"

- name: Sum up
  ansible.builtin.debug:
    msg: "{{ (report | clustercare.kubeadm.upgrade_report_markdown(summary=true)).splitlines() }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""


def upgrade_report_markdown(report: Mapping[str, Any], summary: bool = False) -> str:
    return in_brief(report) if summary else markdown(report)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"upgrade_report_markdown": upgrade_report_markdown}
