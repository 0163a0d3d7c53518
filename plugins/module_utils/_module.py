# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The one way in which a module of this collection starts, answers and fails."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError

# What steers a terminal: others choose much of what a message repeats, such as the name of a pod's owner.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# In the address of a proxy or a package repository (an image's digest also comes after an @), or in a .repo file.
_PASSWORDS = (
    re.compile(r"://[^\s/:@'\"]*:([^\s/@'\"]{4,})@(?!sha256:)"),
    re.compile(r"^[ \t+-]*(?:proxy_)?password[ \t]*=[ \t]*(\S{4,})", re.MULTILINE),
)
# Read by the action plugin, on the controller; the module itself has no use for it.
RECONNECT: dict[str, Any] = {"reconnect_timeout": {"type": "int", "default": 0}}


def printable(text: str) -> str:
    """The same without control characters, which Ansible would send to the terminal as they are."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def passwords_in(value: Any) -> Iterator[str]:
    """Those that addresses and settings of package managers hold, anywhere in a result."""
    if isinstance(value, str):
        for pattern in _PASSWORDS:
            yield from pattern.findall(value)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from passwords_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from passwords_in(each)


def run_module(main: Callable[[AnsibleModule], dict[str, Any]], **spec: Any) -> None:
    """Build the module from ``spec`` (AnsibleModule's own arguments), run ``main``, exit.

    ``main`` returns the result; ``changed`` defaults to false and ``elapsed`` (seconds, float) is added.
    Sentences under ``warnings`` become the task's warnings. Passwords in addresses are blotted out.
    A CareError becomes ``fail_json`` with its partial results; any other exception is a bug and keeps its traceback.
    """
    module = AnsibleModule(**spec)
    began = time.monotonic()

    def answer(results: dict[str, Any]) -> dict[str, Any]:
        module.no_log_values.update(passwords_in([results, module.params]))
        for warning in results.pop("warnings", []):
            module.warn(printable(warning))
        return {"changed": False, "elapsed": round(time.monotonic() - began, 1), **results}

    try:
        results = main(module)
    except CareError as error:
        module.no_log_values.update(passwords_in(error.message))
        module.fail_json(msg=printable(error.message), **answer(error.results))
    module.exit_json(**answer(results))
