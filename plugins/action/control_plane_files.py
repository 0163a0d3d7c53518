# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of control_plane_files: runs the module, then brings the archives that may travel here."""

from __future__ import annotations

import os
from typing import Any, Optional

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_archive import digest, prove
from ansible_collections.clustercare.kubeadm.plugins.module_utils._whole_file import (
    WholeFile,
    need_space,
    private_directory,
)
from ansible_collections.clustercare.kubeadm.plugins.plugin_utils._bringing import BringingAction


class ActionModule(BringingAction):
    """What belongs to a master is known to the module; here is only the way of its archives."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        arguments = self._task.args
        fetch_to = arguments.get("fetch_to")
        if result.get("failed") or not fetch_to or arguments.get("state", "saved") != "saved":
            return result
        directory = self._loader.path_dwim(fetch_to)
        with_keys = boolean(arguments.get("private_keys") or False)
        archives = result["files"]["archives"]
        fetched: dict[str, Any] = {"paths": [], "host_paths": [archive["path"] for archive in archives]}
        fetched.update(travelled=[], stayed=[], changed=False)
        result["fetched"] = fetched
        try:
            for archive in archives:
                travels = with_keys or not archive["private"]
                if travels:
                    path, copied = self._fetch(archive, directory)
                    fetched["paths"].append(path)
                    fetched["changed"] |= copied
                if archive["private"]:
                    fetched["travelled" if travels else "stayed"] = archive["files"]
        except CareError as error:
            result.update(error.results)
            result.update(failed=True, msg=f"{error.message} The archives themselves are safe on the host.")
        result["changed"] = bool(result.get("changed")) or fetched["changed"]
        return result

    def _fetch(self, archive: dict[str, Any], directory: str) -> tuple[str, bool]:
        """Where the copy on the controller is, and whether it was brought now."""
        path = os.path.join(directory, os.path.basename(archive["name"]))
        if os.path.lexists(path) and archive.get("sha256"):
            prove(path)
            if digest(path) != archive["sha256"]:
                raise CareError(f"Another archive lies at {path} on the controller: move it away.")
            return path, False
        need_space(directory, archive["size"], "fetch_to")
        if self._task.check_mode:
            return path, True
        private_directory(directory)
        with WholeFile(path) as file:
            self.bring(archive["path"], archive["size"], file)
            prove(file.part)
            if digest(file.part) != archive["sha256"]:
                raise CareError(
                    f"The copy on the controller was thrown away: it differs from {archive['path']} on the host, which "
                    "has changed meanwhile. Run it again."
                )
            file.commit()
        return path, True
