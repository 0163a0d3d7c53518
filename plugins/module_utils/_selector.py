# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Label selectors: what a person writes, and what the API writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

_KEY = r"(?P<key>[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?(/[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)?)"
_FORMS = (
    (re.compile(rf"{_KEY}\s+in\s*\((?P<values>[^()]*)\)"), "In"),
    (re.compile(rf"{_KEY}\s+notin\s*\((?P<values>[^()]*)\)"), "NotIn"),
    (re.compile(rf"{_KEY}\s*!=\s*(?P<values>[\w.-]*)"), "NotIn"),
    (re.compile(rf"{_KEY}\s*==?\s*(?P<values>[\w.-]*)"), "In"),
    (re.compile(rf"{_KEY}\s*>\s*(?P<values>\d+)"), "Gt"),
    (re.compile(rf"{_KEY}\s*<\s*(?P<values>\d+)"), "Lt"),
    (re.compile(rf"!\s*{_KEY}"), "DoesNotExist"),
    (re.compile(_KEY), "Exists"),
)


def parse_selector(written: str, option: str) -> dict[str, Any]:
    """A selector in ``kubectl -l``'s words (``app=web,tier in (a,b),!canary``) as the API writes it.

    :raises CareError: naming ``option`` and the part that is none.
    """
    expressions = []
    for part in re.split(r",(?![^()]*\))", written):
        for pattern, operator in _FORMS:
            found = pattern.fullmatch(part.strip())
            if found:
                values = [value.strip() for value in found.groupdict().get("values", "").split(",")]
                expressions.append({"key": found["key"], "operator": operator, "values": values})
                break
        else:
            raise CareError(
                f"'{part.strip()}' in '{written}' is no label selector (option {option}); "
                "write for instance app=web,tier in (front,back),!canary."
            )
    return {"matchExpressions": expressions}


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; none matches nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(holds(expression, labels) for expression in selector.get("matchExpressions") or [])


def holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether one expression of a selector or of a node affinity is true for these labels."""
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator in ("Gt", "Lt"):
        try:
            here, there = int(labels[key]), int(values[0])
        except (KeyError, ValueError, IndexError):
            return False
        return here > there if operator == "Gt" else here < there
    return False
