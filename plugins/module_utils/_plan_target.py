# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Which version is meant, once for all hosts, and which package that is on each of them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Finding, View
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse, parse_or_none


class Target(NamedTuple):
    """``version`` is None when it cannot be known; then ``findings`` say why."""

    version: Optional[Version]
    packages: dict[str, str]
    findings: list[Finding]


def resolve(view: View) -> Target:
    """Read the asked version; a minor alone means the newest patch that every host offers."""
    asked = parse(view.request.version)
    if view.request.manage_packages:
        return _from_repositories(view, asked)
    return _from_binaries(view, asked)


def newest_first(package: str) -> tuple[Any, ...]:
    """A key that orders package versions of one upstream version too: 1.35.4-2.1 after 1.35.4-1.1."""
    version = parse_or_none(package) or Version(0, 0, 0)
    return (version, [int(number) for number in re.findall(r"\d+", package)])


def _offered(view: View, name: str) -> list[str]:
    available = (view.request.packages.get(name) or {}).get("available") or []
    return sorted((str(package) for package in available), key=newest_first)


def _from_repositories(view: View, asked: Version) -> Target:
    findings = []
    offers = {name: _offered(view, name) for name in view.known}
    if asked.patch >= 0:
        version: Optional[Version] = asked
    else:
        per_host = [{parse(p) for p in packages if parse(p).series == asked.series} for packages in offers.values()]
        common = set.intersection(*per_host) if per_host else set()
        # The same command goes on to the same patch, also when a newer one came out since the run began.
        version = _open_target(view, asked) or (max(common) if common else None)
        if version is None and all(per_host):
            newest = ", ".join(f"{name} {max(found)}" for name, found in zip(offers, per_host))
            sentence = f"no patch of {asked} is offered to every host (the newest are: {newest}): name the version."
            findings.append(Finding("", "package", sentence))
    packages: dict[str, str] = {}
    for name, available in offers.items():
        fitting = [package for package in available if _fits(package, view.request.version, version)]
        if fitting:
            packages[name] = fitting[-1]
        elif not _installed_already(view, name, version):
            findings.append(Finding(name, "package", _not_offered(view, name, available)))
    return Target(version, packages, findings)


def _open_target(view: View, asked: Version) -> Optional[Version]:
    targets = {parse_or_none(run["target"]) for run in view.open_runs().values()}
    return max((target for target in targets if target and target.series == asked.series), default=None)


def _fits(package: str, asked: str, version: Optional[Version]) -> bool:
    exact = asked.lstrip("v")
    if "-" in exact:
        return package == exact
    return version is not None and parse_or_none(package) == version


def _installed_already(view: View, name: str, version: Optional[Version]) -> bool:
    """A host that has the target's packages needs no repository that offers them."""
    installed = view.packages(name)
    return bool(installed) and all(version is not None and parse_or_none(v) == version for v in installed.values())


def _not_offered(view: View, name: str, available: list[str]) -> str:
    looked = view.request.packages.get(name) or {}
    if looked.get("error"):
        return str(looked["error"])
    if not looked:
        return "the package repository was not asked, so nobody knows whether it offers the target."
    where = (looked.get("repository") or {}).get("uri")
    newest = f"; the newest there is {available[-1]}" if available else "; it offers no kubeadm of that minor"
    return f"the package repository{f' {where}' if where else ''} does not offer {view.request.version}{newest}."


def _from_binaries(view: View, asked: Version) -> Target:
    """Without package management the machines' own binaries say which patch is meant."""
    if asked.patch >= 0:
        return Target(asked, {}, [])
    found = {name: parse_or_none((view.host(name).get("kubeadm") or {}).get("installed")) for name in view.known}
    versions = {version for version in found.values() if version and version.series == asked.series}
    if len(versions) == 1:
        return Target(versions.pop(), {}, [])
    seen = ", ".join(f"{name} {version or 'none'}" for name, version in found.items())
    sentence = (
        f"upgrade_manage_packages is false and the hosts' kubeadm do not agree on one patch of {asked} ({seen}): "
        "name the version."
    )
    return Target(None, {}, [Finding("", "package", sentence)])
