# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""etcd's configuration file (``--config-file``) as flags. With one, etcd takes nothing from flags and environment."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._offline import json_documents

_NOTHING = {"apiVersion": "clustercare.io/v1", "kind": "Settings"}
_SECTIONS = {"client-transport-security": "", "peer-transport-security": "peer-"}


def flags_of(config: dict[str, Any]) -> dict[str, str]:
    """The settings of a configuration file by the names of etcd's flags."""

    def text(value: Any) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    plain = {name: value for name, value in config.items() if not isinstance(value, (dict, list, type(None)))}
    found = {name: text(value) for name, value in plain.items()}
    for section, prefix in _SECTIONS.items():
        values = config.get(section)
        for name, value in values.items() if isinstance(values, dict) else ():
            found[prefix + name] = text(value)
    return found


def read_config(path: str, runner: Runner = run) -> dict[str, Any]:
    """A configuration file of this host.

    :raises CareError: it cannot be read.
    """
    advice = "Name the options endpoint, ca_cert, client_cert and client_key"
    if not os.path.isfile(path):
        raise CareError(f"etcd takes its settings from {path}, which is not on this host. {advice}.")
    # kubectl is what reads YAML here: the file becomes a patch of an object that has nothing of its own.
    empty = json.dumps(_NOTHING)
    argv = ["kubectl", "patch", "--local", "-f", "-", "--type", "merge", "--patch-file", path, "-o", "json"]
    done = runner(argv, stdin=empty)
    if done.rc != 0:
        why = f"which kubectl cannot read ({done.last_words})"
        raise CareError(f"etcd takes its settings from {path}, {why}. {advice}.")
    return {name: value for name, value in json_documents(done.out)[0].items() if name not in _NOTHING}


def read_flags(path: str, runner: Runner = run) -> dict[str, str]:
    """The settings in a configuration file of this host, by the names of etcd's flags.

    :raises CareError: it cannot be read.
    """
    return flags_of(read_config(path, runner))
