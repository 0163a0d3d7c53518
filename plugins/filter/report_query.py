# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError

try:
    import jmespath
    from jmespath.exceptions import JMESPathError
except ImportError:
    jmespath = None

DOCUMENTATION = r"""
name: report_query
short_description: Take named figures out of a report
version_added: 0.1.0
author: [clustercare.kubeadm authors (@clustercare)]
description:
  - Answers several JMESPath expressions over one report at once, such as for M(ansible.builtin.set_stats).
requirements:
  - Python package C(jmespath), on the controller
positional: expressions
options:
  _input:
    description: The report, or any other data.
    type: dict
    required: true
  expressions:
    description: A JMESPath expression for each name.
    type: dict
    required: true
seealso:
  - name: JMESPath
    description: The language of the expressions.
    link: https://jmespath.org
"""

EXAMPLES = r"""
- name: Hand figures to the next job of a workflow
  ansible.builtin.set_stats:
    data: "{{ report | clustercare.kubeadm.report_query(figures) }}"
  vars:
    figures:
      upgrade_outcome: outcome
      upgrade_nodes: length(nodes[?outcome == 'upgraded'])
      upgrade_slowest_node: max_by(nodes, &seconds).name
      upgrade_snapshot_sha256: snapshot.sha256
"""

RETURN = r"""
_value:
  description: The answer for each name; null where the expression finds nothing.
  type: dict
  sample: {"upgrade_nodes": 3, "upgrade_outcome": "upgraded"}
"""


def report_query(report: Mapping[str, Any], expressions: Mapping[str, str]) -> dict[str, Any]:
    if jmespath is None:
        raise AnsibleFilterError("The filter report_query needs the Python package jmespath on the controller.")
    data = _plain(report)
    return {str(name): _answer(str(name), str(expression), data) for name, expression in expressions.items()}


def _answer(name: str, expression: str, data: Any) -> Any:
    try:
        return jmespath.search(expression, data)
    except JMESPathError as error:
        raise AnsibleFilterError(f"The expression of {name}, '{expression}', does not work: {error}") from error


def _plain(value: Any) -> Any:
    """JMESPath knows the plain types only, not those that a template engine wraps around them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"report_query": report_query}
