# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Version traps: what works today and breaks at a minor. One table, one small evaluator.

A row bites when the target's minor is ``since`` or later and what it names is still there on a node with work left.
To add a trap, add a row; to add a new place to look at, add a function to ``_PLACES``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse_or_none

REFUSE = "refuse"
WARN = "warn"


@dataclass(frozen=True)
class Trap:
    """One row: at which minor, what, where to look, what to say.

    :param since: the first minor that no longer accepts ``what``.
    :param place: where to look, a key of ``_PLACES``.
    :param what: the flag, gate, plug-in or version limit; its meaning is the place's.
    :param severity: REFUSE before any change, or WARN.
    :param sentence: said of the node; ``{what}``, ``{seen}`` and ``{target}`` are filled in.
    :param source: where the fact is written down.
    :param cleaned_by: the minors whose kubeadm removes a kubelet flag from its own flags file.
    """

    since: tuple[int, int]
    place: str
    what: str
    severity: str
    sentence: str
    source: str
    cleaned_by: tuple[tuple[int, int], ...] = ()

    @property
    def rule(self) -> str:
        """The name that refusals carry, such as ``trap_cgroup_config``."""
        return f"trap_{self.place}"


class Surroundings(NamedTuple):
    """What a trap may look at besides the host itself."""

    target: Version
    kubelet_config: dict[str, Any]
    kubeadm_config: dict[str, Any]
    ignored: frozenset[str]


class Hit(NamedTuple):
    trap: Trap
    sentence: str


_KUBELET_FLAG = (
    "the kubelet flag --{what} (in {seen}) is gone since {since}, kubeadm does not clean it there, and the kubelet "
    "would not start: remove it from that file."
)
_POD_FLAG = (
    "{seen} is started with --{what}, which is gone since {since}: remove it from the ConfigMap kubeadm-config "
    "(extraArgs) and from the manifest."
)
_GATE = "{seen} sets the feature gate {what}, which is gone since {since} and would stop it: remove the gate."
_CHANGES = "changelog of Kubernetes {}"


def _kubelet_flag(since: tuple[int, int], name: str, source: str, cleaned_by: tuple[tuple[int, int], ...] = ()) -> Trap:
    return Trap(since, "kubelet_flag", name, REFUSE, _KUBELET_FLAG, source, cleaned_by)


def _pod_flags(since: tuple[int, int], component: str, names: str, source: str) -> list[Trap]:
    return [Trap(since, "flag", f"{component} {name}", REFUSE, _POD_FLAG, source) for name in names.split()]


def _gates(since: tuple[int, int], names: str) -> list[Trap]:
    source = _CHANGES.format(f"{since[0]}.{since[1]}")
    return [Trap(since, "feature_gate", name, REFUSE, _GATE, source) for name in names.split()]


TRAPS: tuple[Trap, ...] = (
    # ---- 1.31
    _kubelet_flag((1, 31), "keep-terminated-pod-volumes", "kubernetes#122082"),
    _kubelet_flag((1, 31), "iptables-masquerade-bit", "kubernetes#122363"),
    _kubelet_flag((1, 31), "iptables-drop-bit", "kubernetes#122363"),
    *_pod_flags(
        (1, 31),
        "kube-controller-manager",
        "volume-host-cidr-denylist volume-host-allow-local-loopback",
        "kubernetes#124017",
    ),
    *_pod_flags(
        (1, 31),
        "kube-controller-manager",
        "horizontal-pod-autoscaler-upscale-delay horizontal-pod-autoscaler-downscale-delay",
        "kubernetes#124948",
    ),
    # ---- 1.32
    *_gates(
        (1, 32),
        "AllowServiceLBStatusOnNonLB CloudDualStackNodeIPs DRAControlPlaneController HPAContainerMetrics KMSv2 "
        "KMSv2KDF LegacyServiceAccountTokenCleanUp MinDomainsInPodTopologySpread NewVolumeManagerReconstruction "
        "NodeOutOfServiceVolumeDetach ServerSideApply ServerSideFieldValidation StableLoadBalancerNodeSet "
        "ValidatingAdmissionPolicy ZeroLimitedNominalConcurrencyShares",
    ),
    # ---- 1.33
    *_pod_flags((1, 33), "kube-apiserver", "cloud-config", "kubernetes#130162"),
    *_gates(
        (1, 33),
        "AppArmor AppArmorFields CPUManager DisableCloudProviders DisableKubeletCloudCredentialProviders "
        "JobPodFailurePolicy KubeProxyDrainingTerminatingNodes PDBUnhealthyPodEvictionPolicy "
        "PersistentVolumeLastPhaseTransitionTime VolumeCapacityPriority",
    ),
    # ---- 1.34: kubeadm goes from etcd 3.5 to 3.6
    Trap(
        (1, 34),
        "etcd_below",
        "3.5.20",
        REFUSE,
        "etcd there is {seen}; etcd 3.6, which comes with Kubernetes 1.34, may refuse to start on data of one older "
        "than {what} (members that were once learners come back as learners): upgrade to the newest patch of the "
        "present minor first.",
        "etcd#19557; etcd.io blog 2025, upgrade from 3.5 to 3.6",
    ),
    Trap(
        (1, 34),
        "etcd_below",
        "3.5.26",
        WARN,
        "etcd there is {seen}; before etcd 3.6, which comes with Kubernetes 1.34, the etcd project advises {what} or "
        "later (removed members may come back as zombies).",
        "etcd.io blog 2025, zombie members",
    ),
    _kubelet_flag((1, 34), "cloud-config", "kubernetes#130161"),
    *_gates((1, 34), "DevicePluginCDIDevices LegacySidecarContainers PodDisruptionConditions"),
    # ---- 1.35
    _kubelet_flag((1, 35), "pod-infra-container-image", "kubernetes#133779, kubeadm#3281", cleaned_by=((1, 35),)),
    Trap(
        (1, 35),
        "cgroup_config",
        "failCgroupV1",
        REFUSE,
        "the node runs on cgroup v1, and its kubelet {target} would not start there: neither the ConfigMap "
        "kubelet-config in kube-system nor a kubeadm patch says failCgroupV1: false{seen}. Move the node to cgroup v2, "
        "or set it in that ConfigMap.",
        "KEP-5573",
    ),
    Trap(
        (1, 35),
        "cgroup_preflight",
        "SystemVerification",
        REFUSE,
        "the node runs on cgroup v1, and kubeadm's preflight check {what} fails there since 1.35: move the node to "
        "cgroup v2, or name {what} in upgrade_ignore_preflight_errors.",
        "KEP-5573",
    ),
    *_gates((1, 35), "SizeMemoryBackedVolumes UserNamespacesHostNetworkSupport"),
    # ---- 1.36
    Trap(
        (1, 36),
        "containerd_below",
        "2.0",
        WARN,
        "containerd there is {seen}; 1.35 was the last Kubernetes that supports containerd 1.x: plan to move to "
        "containerd {what} or later.",
        "KEP-4033",
    ),
    *_gates((1, 36), "CSIMigrationPortworx InTreePluginPortworxUnregister WatchFromStorageWithoutResourceVersion"),
    # ---- 1.37
    Trap(
        (1, 37),
        "kubeadm_api",
        "kubeadm.k8s.io/v1beta3",
        REFUSE,
        "the ConfigMap kubeadm-config is written in {seen}, which kubeadm no longer reads since 1.37: upgrade to the "
        "newest patch of the present minor first, its kubeadm rewrites it.",
        "kubernetes#136016",
    ),
    Trap(
        (1, 37),
        "kubeadm_gate",
        "PublicKeysECDSA",
        REFUSE,
        "the ConfigMap kubeadm-config sets kubeadm's feature gate {what}, gone since 1.37: use encryptionAlgorithm.",
        "kubernetes#136016",
    ),
    Trap(
        (1, 37),
        "kubeadm_gate",
        "NodeLocalCRISocket",
        REFUSE,
        "the ConfigMap kubeadm-config sets kubeadm's feature gate {what}, gone since 1.37: remove it there.",
        "kubernetes#138645",
    ),
    *_gates(
        (1, 37),
        "AnonymousAuthConfigurableEndpoints APIServerTracing AnyVolumeDataSource AuthorizeNodeWithSelectors "
        "AuthorizeWithSelectors BtreeWatchCache ConsistentListFromCache GangScheduling JobBackoffLimitPerIndex "
        "JobPodReplacementPolicy JobSuccessPolicy LogarithmicScaleDown OrderedNamespaceDeletion "
        "PodLifecycleSleepAction PodLifecycleSleepActionAllowZero PreventStaticPodAPIReferences "
        "RelaxedDNSSearchValidation ResilientWatchCacheInitialization RetryGenerateName SchedulerQueueingHints "
        "SidecarContainers StreamingCollectionEncodingToJSON StreamingCollectionEncodingToProtobuf "
        "StructuredAuthenticationConfiguration WorkloadAwarePreemption",
    ),
)


# ------------------------------------------------------------------------------------------------ where to look
# Each answers None when the trap is not there, else what was seen (put into the sentence as {seen}).


def _flag_name(flag: dict[str, Any]) -> str:
    return str(flag.get("flag", "")).lstrip("-")


def _kubelet_flags(host: dict[str, Any]) -> list[dict[str, Any]]:
    """What the next kubelet starts with: what only the running one has (source ``process``) goes with its restart."""
    return [flag for flag in (host.get("kubelet") or {}).get("flags") or [] if flag["source"] != "process"]


def _see_kubelet_flag(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    for flag in _kubelet_flags(host):
        if _flag_name(flag) != trap.what:
            continue
        if flag.get("cleaned_by_kubeadm") and around.target.series in trap.cleaned_by:
            continue
        return str(flag["source"])
    return None


def _flags_of(argv: list[str], name: str) -> list[str]:
    """Values of ``--name=value`` in a static pod's argv."""
    prefix = f"--{name}="
    return [word[len(prefix) :] for word in argv if word.startswith(prefix)]


def _see_pod_flag(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    component, name = trap.what.split()
    pod = (host.get("static_pods") or {}).get(component) or {}
    words = {str(word).split("=", 1)[0] for word in pod.get("flags") or []}
    return component if f"--{name}" in words else None


def _see_gate(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    for component, pod in sorted((host.get("static_pods") or {}).items()):
        for value in _flags_of([str(word) for word in (pod or {}).get("flags") or []], "feature-gates"):
            if trap.what in {gate.split("=")[0].strip() for gate in value.split(",")}:
                return component
    for flag in _kubelet_flags(host):
        gates = {gate.split("=")[0].strip() for gate in str(flag.get("value") or "").split(",")}
        if _flag_name(flag) == "feature-gates" and trap.what in gates:
            return f"the kubelet (in {flag['source']})"
    if trap.what in (around.kubelet_config.get("featureGates") or {}):
        return "the ConfigMap kubelet-config"
    return None


def _see_etcd(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    written = (host.get("etcd") or {}).get("version")
    return _older(written, trap.what)


def _see_containerd(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    runtime = host.get("runtime") or {}
    return _older(runtime.get("version"), trap.what) if runtime.get("name") == "containerd" else None


def _older(written: Optional[str], limit: str) -> Optional[str]:
    version, bound = parse_or_none(written), parse_or_none(limit)
    return str(written) if version and bound and version < bound else None


def _see_cgroup_config(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    if host.get("cgroup") != 1 or host.get("kubeadm_patches_fail_cgroup_v1"):
        return None
    if around.kubelet_config.get("failCgroupV1") is False:
        return None
    if (host.get("kubelet") or {}).get("fail_cgroup_v1") is False:
        return " (the node's own /var/lib/kubelet/config.yaml does, but kubeadm rewrites that file from the ConfigMap)"
    return ""


def _see_cgroup_preflight(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    return "" if host.get("cgroup") == 1 and trap.what.lower() not in around.ignored else None


def _see_kubeadm_api(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    return trap.what if host.get("role") == "master" and around.kubeadm_config.get("apiVersion") == trap.what else None


def _see_kubeadm_gate(trap: Trap, host: dict[str, Any], around: Surroundings) -> Optional[str]:
    gates = around.kubeadm_config.get("featureGates") or {}
    return "" if host.get("role") == "master" and trap.what in gates else None


_PLACES: dict[str, Callable[[Trap, dict[str, Any], Surroundings], Optional[str]]] = {
    "kubelet_flag": _see_kubelet_flag,
    "flag": _see_pod_flag,
    "feature_gate": _see_gate,
    "etcd_below": _see_etcd,
    "containerd_below": _see_containerd,
    "cgroup_config": _see_cgroup_config,
    "cgroup_preflight": _see_cgroup_preflight,
    "kubeadm_api": _see_kubeadm_api,
    "kubeadm_gate": _see_kubeadm_gate,
}


# ------------------------------------------------------------------------------------------------ the evaluator


def find_traps(host: dict[str, Any], around: Surroundings) -> Iterator[Hit]:
    """Traps that bite this host at the target, in the table's order; of two limits on one thing only the first."""
    seen_limits = set()
    for trap in TRAPS:
        if around.target.series < trap.since:
            continue
        seen = _PLACES[trap.place](trap, host, around)
        if seen is None:
            continue
        if trap.place.endswith("_below"):
            if trap.place in seen_limits:
                continue
            seen_limits.add(trap.place)
        what = trap.what.split()[-1]
        since = f"{trap.since[0]}.{trap.since[1]}"
        yield Hit(trap, trap.sentence.format(what=what, seen=seen, target=around.target, since=since))


def removed_flags_left(host: dict[str, Any], target: Version) -> list[dict[str, Any]]:
    """Rows of removed kubelet flags that the target's kubeadm cleans, and has not yet: its last phase has not run."""
    cleaned = {t.what for t in TRAPS if t.place == "kubelet_flag" and target.series in t.cleaned_by}
    rows = (host.get("kubelet") or {}).get("flags") or []
    return [row for row in rows if row.get("cleaned_by_kubeadm") and _flag_name(row) in cleaned]
