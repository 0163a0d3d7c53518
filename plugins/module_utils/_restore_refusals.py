# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Why a restore must not begin: each reason in words, from what was seen on all masters and of the snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import refuse_etcd
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import (
    Asked,
    Looks,
    seed_of,
    words_of_age,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse_or_none

_DEFAULT_QUOTA = 2 << 30
_QUOTA_SHARE = 0.9
_SPARE = 200 << 20
_LITTLE = 16 << 20
_COMPARES = Version(3, 5, 10)
_LOG = 128 << 20  # etcd's log begins with two files of 64 MB


# --- what is there


def host_refusals(host: str, seen: dict[str, Any]) -> list[str]:
    """Why this host's etcd cannot be restored, whatever the snapshot."""
    found = [refusal for name, row in seen["components"].items() for refusal in component_refusals(host, name, row)]
    if found:
        return found
    if not seen["member"] or not seen["peer_url"] or not seen["data_dir"]:
        found.append(
            f"{host}'s etcd does not say its name, its peer URL and its data directory: give it --name, "
            "--initial-advertise-peer-urls and --data-dir (in its manifest, its unit, or the files of that)."
        )
    elif not seen["data_dir"].startswith("/"):
        found.append(f"{host}'s etcd has the data directory '{seen['data_dir']}': give it an absolute path.")
    if seen["wal_dir"]:
        found.append(
            f"{host}'s etcd keeps its log apart (--wal-dir={seen['wal_dir']}), and what is swapped is one directory: "
            f"stop etcd, move the files of {seen['wal_dir']} to {seen['data_dir']}/member/wal, and start it without "
            "--wal-dir first."
        )
    version = parse_or_none(seen["etcd_version"])
    if version and version < _COMPARES and (version.patch >= 0 or version.series < _COMPARES.series):
        found.append(
            f"{host}'s etcd {version} cannot be asked for the hash by which restored members are compared; {_COMPARES} "
            "and newer can: put a newer release into its manifest or its unit first."
        )
    if not seen["kubelet"] and any(row["kind"] == "static_pod" for row in seen["components"].values()):
        found.append(f"No kubelet runs on {host}, so nothing would stop or start its static pods: start it first.")
    return found + [f"{host}: {obstacle}" for obstacle in seen["obstacles"]]


def component_refusals(host: str, name: str, row: dict[str, Any]) -> list[str]:
    """Why a component could not be stopped and started."""
    if row["kind"] == "absent":
        return [
            f"{host} has no {name}, neither as a static pod nor as a systemd unit: only masters with etcd and the "
            "whole control plane on them can be restored."
        ]
    if row["kind"] == "process":
        return [f"{name} of {host} is of no static pod and no systemd unit: whoever started it has to make it one."]
    if row["masked"]:
        unit = row["unit"]
        return [f"{unit} of {host} is masked, so nothing could start it again: systemctl unmask {unit} first."]
    return []


def members_known(looks: Looks, stored: Sequence[dict[str, Any]] = ()) -> set[str]:
    """The names of all members: those that a working etcd tells, else all that are known to any member or its data.

    :param stored: those in the snapshot, which tell when nothing else does.
    """
    found = [member for seen in looks.values() for member in seen["etcd"]["members"]]
    if not has_quorum(looks):
        found += [member for seen in looks.values() for member in (seen.get("data") or {}).get("members") or []]
    return {member["name"] or member["id_hex"] for member in found or stored}


def membership_refusals(looks: Looks, without: Sequence[str] = (), stored: Sequence[dict[str, Any]] = ()) -> list[str]:
    """Why these hosts are not the cluster: each member must be among them, and no two may be the same.

    :param without: members that are gone for good, as the user says.
    :param stored: the members in the snapshot.
    """
    found = []
    names = [seen["member"] for seen in looks.values()]
    urls = [seen["peer_url"] for seen in looks.values()]
    for what, values in (("name", names), ("peer URL", urls)):
        twice = sorted({value for value in values if value and values.count(value) > 1})
        found += [f"Two masters have the same etcd {what}: {value}." for value in twice]
    missing = sorted(members_known(looks, stored) - set(names) - set(without))
    if missing:
        found.append(
            f"etcd has members that are not among the masters of this run: {', '.join(missing)}. All members have to "
            "be restored together: take them into the inventory (and leave --limit away). One that is left out may "
            "come back with the old data. Those that are gone for good are left out by naming them, "
            f"-e etcd_restore_without={','.join(missing)}, and by --limit."
        )
    present = sorted(set(without) & set(names))
    if present:
        found.append(f"{', '.join(present)} cannot be left out (etcd_restore_without) and be of this run: use --limit.")
    if len(looks) > 1:
        found += [f"{host}: {why}" for host, seen in looks.items() for why in seen.get("peer_obstacles") or []]
    clusters = {str(seen["ca_sha256"]) for seen in looks.values()}
    if len(clusters) > 1:
        found.append("The masters do not have the same cluster CA certificate: they are not one cluster.")
    return found


def has_quorum(looks: Looks) -> bool:
    """Whether a majority still works: then this is no lost cluster, and somebody may be using it."""
    return any(seen["etcd"]["quorum"] for seen in looks.values())


# --- the snapshot against what is there


def snapshot_refusals(
    looks: Looks, snapshot: dict[str, Any], asked: Asked, now: float, safety: Optional[str] = None
) -> list[str]:
    """Why this snapshot must not be restored here.

    :param safety: the host that takes a snapshot of the present data.
    """
    found = []
    host, seen = next(iter(looks.items()))
    ours = seen["ca_sha256"]
    # What it holds itself counts more than what was written beside it.
    theirs = snapshot.get("root_ca_sha256") or snapshot.get("ca_sha256")
    if not asked.foreign and theirs != ours:
        what = f"is of another cluster (CA {str(theirs)[:16]}..., here {str(ours)[:16]}...)"
        if not theirs:
            what = "does not say which cluster it is of"
        elif not ours:
            what = f"cannot be compared: {host} has no CA certificate"
        found.append(f"The snapshot {what}. If it is meant, say etcd_restore_foreign=true.")
    age = snapshot_age(snapshot, now)
    if asked.max_age is not None and (age is None or age > asked.max_age):
        what = "Nobody wrote down when the snapshot was taken"
        if age is not None:
            what = f"The snapshot is {words_of_age(age)} old"
        found.append(
            f"{what}, and etcd_restore_max_age allows {words_of_age(asked.max_age)}: say more, or leave it away."
        )
    stored = parse_or_none(snapshot.get("kubernetes_version"))
    for name, row in looks.items():
        running = parse_or_none(row["kubernetes_version"])
        if stored and running and stored.series != running.series and not asked.allow_version_change:
            found.append(
                f"The snapshot is of Kubernetes {stored}, {name}'s API server is {running}: another minor may not "
                "understand its objects. Install that version first, or say etcd_restore_allow_version_change=true."
            )
    return found + encryption_refusals(looks, snapshot, asked) + etcd_refusals(looks, snapshot, asked, safety)


def encryption_refusals(looks: Looks, snapshot: dict[str, Any], asked: Asked) -> list[str]:
    """Why what the API servers of that time encrypted may be unreadable to those of now."""
    theirs = snapshot.get("encryption_config_sha256")
    if not theirs or asked.allow_encryption_change:
        return []
    found = []
    for name, row in looks.items():
        ours = row.get("encryption_config_sha256")
        if ours == theirs:
            continue
        has = f"another one (SHA-256 {theirs[:16]}..., here {ours[:16]}...)" if ours else "none that can be read"
        found.append(
            f"What is in the snapshot was encrypted by --encryption-provider-config, and {name}'s API server has "
            f"{has}: without the keys of that time nobody can read it. Put that file back first; when the present one "
            "has its keys, too, say etcd_restore_allow_encryption_change=true."
        )
    return found


def room_needed(size: int, row: dict[str, Any], joins: bool, saves: bool) -> int:
    """Bytes: the snapshot, its database, what is kept of the present one, and the new log. One that joins is sent no
    snapshot.
    """
    copies = size if joins else 2 * size
    return copies + (row["db_size"] if saves or not joins else 0) + _LOG + _SPARE


def etcd_refusals(looks: Looks, snapshot: dict[str, Any], asked: Asked, safety: Optional[str]) -> list[str]:
    """Why these etcds could not take it: their version, their quota, their disk."""
    found = []
    size = snapshot["size"]
    seed = seed_of(looks, asked)
    for name, row in looks.items():
        etcd = parse_or_none(row["etcd_version"])
        option = None if asked.allow_version_change else "etcd_restore_allow_version_change"
        refusal = refuse_etcd(snapshot, etcd, f"{name} has", option) if etcd else None
        found += [refusal] if refusal else []
        quota = row["quota"] or _DEFAULT_QUOTA
        # A negative one is none.
        if 0 <= _QUOTA_SHARE * quota < size:
            found.append(
                f"The snapshot has {size >> 20} MiB, {name}'s etcd takes at most {quota >> 20}: it would be full "
                "at once. Raise --quota-backend-bytes first."
            )
        needed = room_needed(size, row, seed is not None and name != seed, name == safety)
        if row["free"] is not None and row["free"] < needed:
            found.append(f"{name} has {row['free'] >> 20} MiB free for it, {needed >> 20} MiB are needed: make room.")
        apart = row.get("free_for_snapshot")
        needed = (0 if seed is not None and name != seed else size) + row["db_size"] + _LITTLE
        if apart is not None and apart < needed:
            found.append(
                f"{name} has {apart >> 20} MiB free in /var/lib/clustercare, where the snapshot comes to, "
                f"{needed >> 20} MiB are needed: make room."
            )
    return found


def snapshot_age(snapshot: dict[str, Any], now: float) -> Optional[float]:
    """Seconds since it was taken; None when nobody knows."""
    return now - epoch(snapshot["taken"]) if snapshot.get("taken") else None


def cluster_name(looks: Looks) -> str:
    """What has to be typed."""
    return next((seen["cluster_name"] for seen in looks.values() if seen["cluster_name"]), "kubernetes")


def confirmation_refusal(looks: Looks, asked: Asked) -> Optional[str]:
    """A cluster that works is only rewound when somebody typed its name."""
    name = cluster_name(looks)
    if not has_quorum(looks) or asked.confirm == name:
        return None
    typed = f" ('{asked.confirm}' is not it)" if asked.confirm else ""
    return (
        "etcd of this cluster still has its majority. All that was changed since the snapshot would be lost. If that "
        f"is meant, type the cluster's name: -e etcd_restore_confirm={name}{typed}"
    )
