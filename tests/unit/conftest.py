# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What all unit tests share: a module run whole, in this process."""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import warnings
from typing import Any, Protocol
from unittest import mock

import pytest
from ansible.module_utils import basic

MODULES = "ansible_collections.clustercare.kubeadm.plugins.modules"


class RunModule(Protocol):
    def __call__(self, name: str, args: dict[str, Any], *, check: bool = ..., diff: bool = ...) -> dict[str, Any]: ...


@pytest.fixture
def run_module() -> RunModule:
    """Run a module by its short name with these options and return the JSON that Ansible would get.

    It goes through AnsibleModule's real way in and out, so defaults, types and ``no_log`` are those of a task.
    A failed module has ``failed`` true in its result and its sentence in ``msg``.
    """

    def run(name: str, args: dict[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
        task = {**args, "_ansible_check_mode": check, "_ansible_diff": diff}
        payload = json.dumps({"ANSIBLE_MODULE_ARGS": task}).encode()
        output = io.StringIO()
        # ansible-core 2.19 also asks for the name of a serialization profile; older ones know none.
        with (
            mock.patch.object(basic, "_ANSIBLE_ARGS", payload),
            mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy", create=True),
            contextlib.redirect_stdout(output),
            warnings.catch_warnings(action="ignore", category=RuntimeWarning),
            pytest.raises(SystemExit) as ended,
        ):
            # The warning: a test imported the module before. The copy that runs here is a fresh one all the same.
            runpy.run_module(f"{MODULES}.{name}", run_name="__main__")
        result: dict[str, Any] = json.loads(output.getvalue())
        assert bool(ended.value.code) == result.get("failed", False), "exit code and answer disagree"
        return result

    return run
