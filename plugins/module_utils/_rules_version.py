# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Is the target a version that this cluster may go to next? One small function a rule."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import Finding, View
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse_or_none

_BEHIND = 3  # minors that a kubelet may be older than its API server


def minor_skipped(view: View) -> Iterator[Finding]:
    target = view.target
    for name, version in view.api_servers().items():
        if target.major == version.major and target.minor > version.minor + 1:
            sentence = (
                f"the API server runs {version}; {target} would skip {version.major}.{version.minor + 1}. kubeadm goes "
                f"one minor at a time: upgrade to {version.major}.{version.minor + 1} first."
            )
            yield Finding(name, "minor_skipped", sentence)


def downgrade(view: View) -> Iterator[Finding]:
    target = view.target
    for name in view.known:
        seen = [(view.api_server(name), "API server"), (view.kubelet(name), "kubelet")]
        for version, what in seen:
            if version and version > target:
                sentence = (
                    f"the {what} runs {version}; {target} would be a downgrade, which Kubernetes does not support."
                )
                yield Finding(name, "downgrade", sentence)
                break


def api_servers_apart(view: View) -> Iterator[Finding]:
    versions = view.api_servers()
    if not versions:
        return
    oldest = min(versions, key=lambda name: versions[name])
    newest = max(versions, key=lambda name: versions[name])
    if versions[newest].minor - versions[oldest].minor > 1:
        sentence = (
            f"the API server runs {versions[oldest]}, that of {newest} runs {versions[newest]}: API servers may be one "
            f"minor apart at most. Bring {oldest} up first."
        )
        yield Finding(oldest, "api_servers_apart", sentence)


def kubelet_newer(view: View) -> Iterator[Finding]:
    servers = view.api_servers()
    if not servers:
        return
    oldest = min(servers, key=lambda name: servers[name])
    for name in view.known:
        kubelet = view.kubelet(name)
        # A master's kubelet follows its own API server: half-way through, the other masters are older than both.
        own = servers.get(name)
        server, where = (own, name) if own else (servers[oldest], oldest)
        if kubelet and kubelet.series > server.series:
            sentence = (
                f"the kubelet runs {kubelet}, newer than the API server of {where} ({server}): a kubelet may never be "
                "newer than an API server."
            )
            yield Finding(name, "kubelet_newer", sentence)


def kubelet_too_old(view: View) -> Iterator[Finding]:
    for name in view.known:
        kubelet = view.kubelet(name)
        if kubelet and view.target.minor - kubelet.minor > _BEHIND:
            sentence = (
                f"the kubelet runs {kubelet}, more than {_BEHIND} minors behind {view.target}: API servers at the "
                "target would no longer work with it. Bring this node up first."
            )
            yield Finding(name, "kubelet_too_old", sentence)


def binaries(view: View) -> Iterator[Finding]:
    """Without package management the machine's image must carry the target already."""
    if view.request.manage_packages:
        return
    for name in view.known:
        for binary in ("kubeadm", "kubelet"):
            installed = (view.host(name).get(binary) or {}).get("installed")
            if parse_or_none(installed) != view.target:
                sentence = (
                    f"{binary} is {installed or 'missing'}, not {view.target}, and upgrade_manage_packages is "
                    "false: put the target's binaries into the machine's image, or let this playbook manage packages."
                )
                yield Finding(name, "binaries", sentence)


def begun(view: View) -> Iterator[Finding]:
    """The cluster's configuration is ahead of every API server and of the target: a newer upgrade is half done."""
    ahead = [version for version in view.api_servers().values() if version > view.target]
    if view.configured and view.configured > view.target and not ahead:
        sentence = (
            f"the ConfigMap kubeadm-config says {view.configured}; {view.target} would be a downgrade. An upgrade to "
            f"{view.configured} was begun: finish it with that version."
        )
        yield Finding("", "downgrade", sentence)


def open_run(view: View) -> Iterator[Finding]:
    """One run at a time: half of the cluster on its way to one version, half to another, is nobody's wish."""
    for name, run in view.open_runs().items():
        if parse_or_none(run["target"]) != view.target:
            since = f", begun {run['begun']}" if run["begun"] else ""
            sentence = (
                f"an upgrade to {run['target']} is open there (run {run['run']}{since}, last at its step "
                f"{run['phase']}), so none to {view.target} is begun. Finish it with -e kubernetes_version="
                f"{run['target']}, or give it up with -e upgrade_abort=true."
            )
            yield Finding(name, "open_run", sentence)
