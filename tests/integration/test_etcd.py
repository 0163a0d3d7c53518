# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The etcd modules on three masters: care, snapshots, membership, and the last disk after a power cut."""

from __future__ import annotations

import random
import shlex
from pathlib import Path
from typing import Any

import pytest
from harness import Lab, task, wait_for

pytestmark = pytest.mark.long

BACKUPS = "/var/lib/clustercare/backups"
# etcdctl out of the running container, with kubeadm's certificates.
ETCDCTL = """
export ETCDCTL_CACERT=/etc/kubernetes/pki/etcd/ca.crt ETCDCTL_CERT=/etc/kubernetes/pki/etcd/healthcheck-client.crt
export ETCDCTL_KEY=/etc/kubernetes/pki/etcd/healthcheck-client.key
bin=/proc/$(pgrep -x etcd)/root/usr/local/bin
"""


class Hosts:
    """The lab's masters, and modules run on them as a task would."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.inventory = Path(lab.status()["inventory"])

    def good(self, host: str, name: str, /, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run a module that must not fail."""
        result = task(self.inventory, host, name, check, **options)
        assert not result["failed"], result["msg"]
        return result

    def refused(self, host: str, name: str, /, **options: Any) -> str:
        """What a module says that must fail, and must not have changed anything."""
        result = task(self.inventory, host, name, **options)
        assert result["failed"] and not result.get("changed"), result
        return str(result["msg"])

    def root(self, host: str, script: str) -> str:
        return self.lab.ssh(host, f"sudo sh -c {shlex.quote(script)}")

    def leader(self) -> str:
        return str(self.good("cp1", "etcd_info")["etcd"]["leader"])


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Hosts:
    lab.up(masters=3, workers=0)
    hosts = Hosts(lab)
    hosts.good("cp1", "etcd_info", wait=True, timeout=120)
    return hosts


def test_all_members_hold_the_same_data(hosts: Hosts) -> None:
    etcd = hosts.good("cp2", "etcd_info", hash_check=True)["etcd"]
    assert etcd["healthy"] and etcd["hash"]["agree"], etcd["problems"]
    assert len({member["hash"] for member in etcd["hash"]["members"]}) == 1 and len(etcd["hash"]["members"]) == 3


def test_the_leadership_moves_away_and_stays_away(hosts: Hosts) -> None:
    leader = hosts.leader()
    assert hosts.good(leader, "etcd_maintenance", check=True, state="leader_moved")["changed"]
    assert hosts.leader() == leader
    moved = hosts.good(leader, "etcd_maintenance", state="leader_moved")
    assert moved["changed"] and moved["moved"]["from"] == leader
    assert hosts.leader() == moved["moved"]["to"] != leader
    assert not hosts.good(leader, "etcd_maintenance", state="leader_moved")["changed"]


def test_holes_are_given_back_and_the_leader_is_last(hosts: Hosts) -> None:
    leader = hosts.leader()
    # 60 versions of one key of 1 MB, and all but the last compacted away on every member.
    hosts.root(
        "cp1",
        ETCDCTL
        + """
        for number in $(seq 60); do head -c 1000000 /dev/urandom | $bin/etcdctl put holes >/dev/null; done
        revision=$($bin/etcdctl get holes --write-out=json | sed 's/.*"revision":\\([0-9]*\\).*/\\1/')
        $bin/etcdctl compact --physical $revision
        """,
    )

    def holes() -> bool:
        members = hosts.good("cp1", "etcd_info")["etcd"]["members"]
        return all(member["db_size"] - member["db_size_in_use"] > 40 << 20 for member in members)

    wait_for("every member has holes of 40 MiB", holes)
    done = hosts.good("cp1", "etcd_maintenance", state="defragmented", min_gain=20)
    assert len(done["defragmented"]) == 3 and done["defragmented"][-1]["name"] == leader == done["moved"]["from"]
    assert all(member["after"] < member["before"] - (20 << 20) for member in done["defragmented"])
    again = hosts.good("cp1", "etcd_maintenance", state="defragmented", min_gain=20)
    assert not again["changed"] and len(again["not_needed"]) == 3
    assert hosts.good("cp1", "etcd_info", hash_check=True)["etcd"]["healthy"]


def test_an_alarm_is_disarmed(hosts: Hosts) -> None:
    etcd = hosts.good("cp1", "etcd_info")["etcd"]
    hosts.root(
        "cp1",
        ETCDCTL
        + f"""
        curl -sS --cacert $ETCDCTL_CACERT --cert $ETCDCTL_CERT --key $ETCDCTL_KEY \\
          -d '{{"action":"ACTIVATE","alarm":"NOSPACE","memberID":"{int(etcd["member_id"], 16)}"}}' \\
          https://127.0.0.1:2379/v3/maintenance/alarm
        """,
    )
    assert "NOSPACE" in hosts.good("cp1", "etcd_info")["etcd"]["problems"][0]
    assert hosts.good("cp1", "etcd_maintenance", state="alarms_disarmed")["disarmed"]
    assert hosts.good("cp1", "etcd_info")["etcd"]["healthy"]
    assert not hosts.good("cp1", "etcd_maintenance", state="alarms_disarmed")["changed"]


def test_both_ways_bring_a_good_snapshot_that_knows_its_cluster(hosts: Hosts) -> None:
    ca = hosts.root("cp1", "openssl x509 -in /etc/kubernetes/pki/ca.crt -outform DER | sha256sum").split()[0]
    for method in ("gateway", "etcdctl"):
        taken = hosts.good("cp1", "etcd_snapshot", name=f"{method}.db", method=method)
        assert taken["changed"] and taken["snapshot"]["method"] == method
        assert taken["snapshot"]["ca_sha256"] == taken["snapshot"]["root_ca_sha256"] == ca
        assert taken["snapshot"]["nodes"] == ["cp1", "cp2", "cp3"]
        assert not hosts.good("cp1", "etcd_snapshot", name=f"{method}.db", method=method)["changed"]
    assert not hosts.good("cp1", "etcd_snapshot", max_age=600)["changed"]
    hosts.root("cp1", f"rm {BACKUPS}/etcdctl.db.json")
    theirs = hosts.good("cp1", "etcd_snapshot_info", name="etcdctl.db")["snapshots"][0]
    assert theirs["good"] and not theirs["ours"] and theirs["ca_sha256"] == ca
    assert "kubernetesVersion: v1.34.4" in theirs["cluster_configuration"].splitlines()
    assert len(hosts.good("cp1", "etcd_snapshot", state="verified")["snapshots"]) == 2
    assert f"{BACKUPS}/etcdctl.db" in hosts.refused("cp1", "etcd_snapshot", state="absent", name="etcdctl.db")


def test_a_flipped_bit_is_noticed_and_never_pruned_over(hosts: Hosts) -> None:
    for name in ("one.db", "two.db", "three.db"):
        size = hosts.good("cp1", "etcd_snapshot", name=name)["snapshot"]["size"]
    offset = random.randrange(size)
    hosts.root(
        "cp1",
        f"f={BACKUPS}/three.db; b=$(od -An -tu1 -j{offset} -N1 $f); "
        f'printf "\\\\$(printf %o $((b ^ 1)))" | dd of=$f bs=1 seek={offset} conv=notrunc status=none',
    )
    assert "three.db is damaged" in hosts.refused("cp1", "etcd_snapshot", state="verified")
    rules: dict[str, Any] = {"keep_last": 1, "keep_hourly": 0, "keep_daily": 0, "keep_weekly": 0}
    pruned = hosts.good("cp1", "etcd_snapshot", state="pruned", **rules)
    assert sorted(pruned["removed"]) == ["gateway.db", "one.db"] and pruned["damaged"] == ["three.db"]
    assert pruned["others"] == ["etcdctl.db"]
    assert hosts.good("cp1", "etcd_snapshot", state="absent", name="three.db")["changed"]
    assert not hosts.good("cp1", "etcd_snapshot", state="pruned", **rules)["changed"]


def test_a_restored_directory_holds_the_data(hosts: Hosts) -> None:
    hosts.lab.kubectl("-n", "kube-system", "create", "configmap", "kept", "--from-literal=a=b")
    hosts.good("cp1", "etcd_snapshot", name="kept.db")
    target = "/var/lib/etcd-restored/etcd"
    options: dict[str, Any] = {"state": "restored", "name": "kept.db", "data_dir": target}
    made = hosts.good("cp1", "etcd_snapshot", **options)
    assert made["changed"] and made["restored"]["revision"] == made["snapshot"]["revision"] + 1_000_000_000
    assert not hosts.good("cp1", "etcd_snapshot", **options)["changed"]
    assert "is left alone" in hosts.refused("cp1", "etcd_snapshot", **{**options, "data_dir": "/var/lib/etcd"})
    found = hosts.root(
        "cp1",
        f"""
        bin=/proc/$(pgrep -x etcd)/root/usr/local/bin
        $bin/etcd --name cp1 --data-dir {target} --listen-client-urls http://127.0.0.1:12379 \\
          --advertise-client-urls http://127.0.0.1:12379 --listen-peer-urls http://127.0.0.1:12380 \\
          >/tmp/restored.log 2>&1 &
        pid=$!
        for i in $(seq 60); do $bin/etcdctl --endpoints http://127.0.0.1:12379 endpoint health >&2 && break; done
        $bin/etcdctl --endpoints http://127.0.0.1:12379 get --keys-only /registry/configmaps/kube-system/kept
        kill $pid
        """,
    )
    assert "/registry/configmaps/kube-system/kept" in found


def test_a_member_leaves_and_comes_back(hosts: Hosts) -> None:
    etcd = hosts.good("cp1", "etcd_info")["etcd"]
    url = next(member["peer_urls"][0] for member in etcd["members"] if member["name"] == "cp3")
    third = {"name": "cp3", "peer_url": url}
    assert "do not belong to one member" in hosts.refused(
        "cp1", "etcd_member", state="absent", name="cp2", peer_url=url
    )
    assert "own member" in hosts.refused("cp3", "etcd_member", state="absent", **third)

    hosts.root("cp3", "mv /etc/kubernetes/manifests/etcd.yaml /root/")
    wait_for("cp3's etcd is gone", lambda: hosts.lab.ssh("cp3", "pgrep -x etcd", check=False) == "")
    second = next(member for member in etcd["members"] if member["name"] == "cp2")
    assert "lost its majority" in hosts.refused(
        "cp1", "etcd_member", state="absent", name="cp2", peer_url=second["peer_urls"][0]
    )
    gone = hosts.good("cp1", "etcd_member", state="absent", **third)
    assert gone["removed"]["name"] == "cp3" and len(gone["members"]) == 2
    assert not hosts.good("cp1", "etcd_member", state="absent", **third)["changed"]

    added = hosts.good("cp1", "etcd_member", state="learner", **third)
    assert added["member"]["learner"] and added["initial_cluster"].count("=") == 3
    assert not hosts.good("cp1", "etcd_member", state="learner", **third)["changed"]
    assert "in sync" in hosts.refused("cp1", "etcd_member", state="promoted", name="cp3", timeout=2)
    hosts.root("cp3", "mv /var/lib/etcd/member /root/old-member && mv /root/etcd.yaml /etc/kubernetes/manifests/")
    assert hosts.good("cp1", "etcd_member", state="promoted", name="cp3", timeout=120)["changed"]
    etcd = hosts.good("cp1", "etcd_info", wait=True, hash_check=True, timeout=60)["etcd"]
    assert etcd["quorum"] == {"members": 3, "needed": 2, "healthy": 3, "tolerates": 1}


def test_the_last_disk_still_gives_its_data(hosts: Hosts) -> None:
    url = hosts.good("cp1", "etcd_info")["etcd"]["members"][2]["peer_urls"][0]
    hosts.lab.run("power-off", "cp2")
    hosts.lab.run("power-off", "cp3")

    def lost() -> bool:
        return any("has no leader" in problem for problem in hosts.good("cp1", "etcd_info")["etcd"]["problems"])

    wait_for("cp1 knows that there is no leader", lost)
    saved = hosts.good("cp1", "etcd_snapshot", name="salvaged.db")
    assert saved["snapshot"]["keys"] > 100 and saved["snapshot"]["nodes"] == ["cp1", "cp2", "cp3"]
    assert "lost its majority" in hosts.refused("cp1", "etcd_member", state="absent", name="cp3", peer_url=url)
    assert "not well" in hosts.refused("cp1", "etcd_maintenance", state="defragmented")
    assert "not well" in hosts.refused(
        "cp1", "etcd_member", state="learner", name="cp4", peer_url=url.replace("13", "14")
    )
