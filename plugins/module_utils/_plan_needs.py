# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What each host still needs, from its real state and from what earlier runs recorded there.

Image tags alone never say that kubeadm is done: `apply` has phases after the images (upload-config, kubelet-config,
addons, post-upgrade). Done means that kubeadm's exit 0 is on record for this target, or that the kubelet, which comes
last, runs the target too; and that everything kubeadm leaves behind agrees.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubeadm
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_drain import movers
from ansible_collections.clustercare.kubeadm.plugins.module_utils._plan_view import View
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse_or_none


@dataclass
class Needs:
    """The steps of one host; ``why`` says in words what was found."""

    packages: bool = False
    images: bool = False
    kubeadm: str = "none"
    drain: bool = False
    kubelet: bool = False
    uncordon: bool = False
    undrained: bool = False
    unfinished: bool = False
    why: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return not (self.packages or self.kubeadm != "none" or self.kubelet or self.uncordon)

    def steps(self) -> dict[str, Any]:
        """The steps alone, for the plan's data."""
        return {key: value for key, value in asdict(self).items() if key not in ("why", "undrained", "unfinished")}


def decide(view: View) -> dict[str, Needs]:
    """Needs of every host whose facts are there, in inventory order."""
    needs = {name: _needs_of(view, name) for name in view.known}
    _finish_addons(view, needs)
    for name, need in needs.items():
        need.images = need.kubeadm != "none"
        _finish_kubelet(view, name, need)
        need.unfinished = not need.done and view.begun(name)
    return needs


def _needs_of(view: View, name: str) -> Needs:
    need = Needs()
    need.why += _why_kubeadm(view, name)
    if need.why:
        need.kubeadm = "apply" if view.masters[:1] == [name] else "node"
    if view.request.manage_packages:
        need.packages = _packages_differ(view, name)
    return need


def _why_kubeadm(view: View, name: str) -> list[str]:
    """Why kubeadm has to run here; nothing when it has done all of its work for this target."""
    reasons = _kubeadm.why_not_done(view.host(name), view.target)
    if view.configured != view.target:
        reasons.append(f"the cluster's configuration says {view.configured or 'nothing'}")
    return reasons


def _finish_addons(view: View, needs: dict[str, Needs]) -> None:
    """kube-proxy is the last addon that kubeadm writes, after the last master: it stands for CoreDNS too."""
    proxy = view.kube_proxy
    masters = [name for name in view.masters if name in needs]
    if proxy is None or proxy == view.target or not masters or any(needs[name].kubeadm != "none" for name in masters):
        return
    last = masters[-1]
    needs[last].kubeadm = "apply" if last == view.masters[0] else "node"
    needs[last].why.append(f"kube-proxy is at {proxy}: the addons are not done")


def _packages_differ(view: View, name: str) -> bool:
    installed = view.packages(name)
    return not installed or any(parse_or_none(version) != view.target for version in installed.values())


def _finish_kubelet(view: View, name: str, need: Needs) -> None:
    """The kubelet: drained before its version changes, restarted, and the node given back if we cordoned it."""
    running = view.kubelet(name)
    changes = running != view.target
    if changes:
        need.why.append(f"the kubelet runs {running or 'no known version'}")
    need.kubelet = changes or need.kubeadm != "none" or _restart_owed(view, name)
    need.drain = changes
    ours = view.cordoned_by_us(view.node(name))
    if need.drain and movers(view, name) and not view.others_for(name):
        need.drain, need.undrained = False, True
    cordoned = bool(view.node(name).get("spec", {}).get("unschedulable"))
    need.uncordon = ours or (need.drain and not cordoned)
    if ours:
        need.why.append("an unfinished run of ours left it cordoned")


def _restart_owed(view: View, name: str) -> bool:
    """Our own run ended between kubeadm's new configuration and the kubelet's restart."""
    if not (view.host(name).get("kubelet") or {}).get("stale"):
        return False
    configured = view.step_recorded(name, "kubeadm")
    restarted = view.step_recorded(name, "kubelet")
    if not configured:
        return False
    return not restarted or str(restarted.get("finished", "")) < str(configured.get("finished", ""))
