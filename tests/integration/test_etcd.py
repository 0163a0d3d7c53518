# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The etcd modules on three masters: care, snapshots, membership, and the last disk after a power cut."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import ETCD_ACCESS, PROJECT, Lab, task, wait_for

pytestmark = pytest.mark.long

BACKUPS = "/var/lib/clustercare/backups"
# etcdctl out of the running container, with kubeadm's certificates.
ETCDCTL = f"""
export {ETCD_ACCESS}
bin=/proc/$(pgrep -x etcd)/root/usr/local/bin
"""
# Issues certificates on a master: issue NAME CA USAGE ALTERNATIVE_NAMES.
ISSUE = """
set -e
issue() {
  openssl req -new -nodes -newkey rsa:2048 -subj /CN=$1 -keyout $1.key -out $1.csr
  printf "extendedKeyUsage=%s\\nsubjectAltName=%s" "$3" "$4" >$1.ext
  openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -CAcreateserial -days 9 -extfile $1.ext -out $1.crt
}
"""
# Writes small keys one after the other on a master: each is an entry of its own that a member may be behind.
ENTRIES = """python3 - <<'END'
import http.client, json, ssl
pki = "/etc/kubernetes/pki/etcd/"
tls = ssl.create_default_context(cafile=pki + "ca.crt")
tls.load_cert_chain(pki + "healthcheck-client.crt", pki + "healthcheck-client.key")
etcd = http.client.HTTPSConnection("127.0.0.1", 2379, context=tls)
for number in range(1100):
    etcd.request("POST", "/v3/kv/put", json.dumps({"key": "bGFn", "value": "bGFn"}))
    answer = etcd.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
END"""


class Hosts:
    """The lab's masters, and modules run on them as a task would."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.inventory = Path(lab.status()["inventory"])

    def good(self, host: str, name: str, /, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run a module that must not fail."""
        result = task(self.inventory, host, name, *(["--check"] if check else []), **options)
        assert not result["failed"], result["msg"]
        return result

    def refused(self, host: str, name: str, /, **options: Any) -> str:
        """What a module says that must fail, and must not have changed anything."""
        result = task(self.inventory, host, name, **options)
        assert result["failed"] and not result.get("changed"), result
        return str(result["msg"])

    def root(self, host: str, script: str) -> str:
        return self.lab.ssh(host, f"sudo sh -c {shlex.quote(script)}")

    def files(self, host: str, directory: str) -> list[str]:
        return self.root(host, f"ls -A {directory} 2>/dev/null || true").split()

    def leader(self) -> str:
        return str(self.good("cp1", "etcd_info")["etcd"]["leader"])

    def alarm(self, host: str, kind: str) -> None:
        """Raise an alarm of a host's member."""
        member = int(self.good(host, "etcd_info")["etcd"]["member_id"], 16)
        body = f'{{"action":"ACTIVATE","alarm":"{kind}","memberID":"{member}"}}'
        access = "--cacert $ETCDCTL_CACERT --cert $ETCDCTL_CERT --key $ETCDCTL_KEY"
        self.root("cp1", f"{ETCDCTL} curl -sSf {access} -d '{body}' https://127.0.0.1:2379/v3/maintenance/alarm")

    def once_it_streams(self, host: str, path: str, script: str) -> None:
        """Leave a script on a host that runs as soon as the first bytes of the snapshot ``path`` have come."""
        waits = f"until test -s {path}.part -o -s {path}.part.etcdctl.part; do sleep 0.01; done"
        self.root(host, f"systemd-run --quiet --collect sh -c {shlex.quote(f'{waits}; {script}')}")


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


@pytest.mark.parametrize("kind", ["NOSPACE", "CORRUPT"])
def test_an_alarm_is_disarmed(hosts: Hosts, kind: str) -> None:
    hosts.alarm("cp1", kind)
    assert kind in hosts.good("cp1", "etcd_info")["etcd"]["problems"][0]
    if kind == "CORRUPT":
        assert "alarm CORRUPT" in hosts.refused("cp1", "etcd_snapshot")
        assert hosts.good("cp2", "etcd_snapshot", check=True)["changed"]
    # All members hold the same data, so neither alarm has a reason.
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


def test_a_sidecar_of_another_snapshot_or_a_piece_of_one_makes_it_no_good_one(hosts: Hosts) -> None:
    directory = "/var/lib/clustercare/swapped"
    for name in ("one.db", "two.db", "three.db"):
        hosts.root("cp1", f"{ETCDCTL} $bin/etcdctl put between {name}")
        hosts.good("cp1", "etcd_snapshot", dir=directory, name=name)

    hosts.root("cp1", f"cp {directory}/one.db.json {directory}/two.db.json")
    swapped = "two.db is not the snapshot that"
    assert swapped in hosts.refused("cp1", "etcd_snapshot", dir=directory, state="verified")
    assert swapped in hosts.refused("cp1", "etcd_snapshot", dir=directory, name="two.db")
    restoring: dict[str, Any] = {"state": "restored", "name": "two.db", "data_dir": "/var/lib/etcd-restored/none"}
    assert swapped in hosts.refused("cp1", "etcd_snapshot", dir=directory, **restoring)
    rules: dict[str, Any] = {"state": "pruned", "keep_hourly": 0, "keep_daily": 0, "keep_weekly": 0}
    pruned = hosts.good("cp1", "etcd_snapshot", dir=directory, **rules, keep_last=2)
    assert [one["name"] for one in pruned["kept"]] == ["three.db", "one.db"] and pruned["damaged"] == ["two.db"]

    hosts.root("cp1", f"truncate -s 100 {directory}/three.db.json")
    cut = "three.db.json beside the snapshot cannot be read, as it is damaged or cut off"
    assert cut in hosts.refused("cp1", "etcd_snapshot", dir=directory, state="verified")
    assert cut in hosts.refused("cp1", "etcd_snapshot", dir=directory, state="absent", name="three.db")
    pruned = hosts.good("cp1", "etcd_snapshot", dir=directory, **rules, keep_last=1)
    assert [one["name"] for one in pruned["kept"]] == ["one.db"] and not pruned["removed"]
    assert sorted(pruned["damaged"]) == ["three.db", "two.db"]
    # Without that piece it is proven by itself.
    hosts.root("cp1", f"rm {directory}/three.db.json")
    assert hosts.good("cp1", "etcd_snapshot", dir=directory, state="verified", name="three.db")


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


@pytest.fixture(scope="module")
def wrong(hosts: Hosts) -> str:
    """A directory on cp1 with certificates that do not fit etcd."""
    hosts.root(
        "cp1",
        ISSUE
        + """
        mkdir -p -m 0700 /root/wrong && cd /root/wrong && cp /etc/kubernetes/pki/etcd/ca.* .
        openssl req -x509 -nodes -newkey rsa:2048 -days 9 -subj /CN=etcd-ca -keyout other.key -out other.crt
        issue for-servers ca serverAuth DNS:cp1
        issue foreign other clientAuth DNS:cp1
        """,
    )
    return "/root/wrong"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param({"client": "for-servers"}, "for-servers.crt: it is for servers only", id="no client's usage"),
        pytest.param({"client": "foreign"}, "foreign.crt: no CA that etcd trusts has issued it", id="another CA's"),
        pytest.param({"ca": "other"}, "does not stand the check against /root/wrong/other.crt", id="another CA"),
    ],
)
def test_a_certificate_that_does_not_fit_is_named_and_nothing_is_done(
    hosts: Hosts, wrong: str, names: dict[str, str], words: str
) -> None:
    options: dict[str, Any] = {f"{who}_cert": f"{wrong}/{name}.crt" for who, name in names.items()}
    if "client" in names:
        options["client_key"] = f"{wrong}/{names['client']}.key"
    etcd = hosts.good("cp1", "etcd_info", **options)["etcd"]
    assert words in etcd["problems"][0] and not etcd["healthy"] and not etcd["members"]
    directory = "/var/lib/clustercare/nothing"
    for method in ("gateway", "etcdctl"):
        assert words in hosts.refused("cp1", "etcd_snapshot", dir=directory, method=method, **options)
    assert words in hosts.refused("cp1", "etcd_maintenance", state="defragmented", **options)
    assert hosts.files("cp1", "/var/lib/clustercare").count("nothing") == 0


def test_an_etcd_whose_certificate_is_no_clients_is_backed_up_all_the_same(hosts: Hosts) -> None:
    restart: dict[str, Any] = {"name": "etcd", "state": "restarted", "allow_outage": True}
    hosts.root(
        "cp1",
        ISSUE
        + """
        cd /etc/kubernetes/pki/etcd && cp -p server.crt server.key /root/
        names=$(openssl x509 -in server.crt -noout -ext subjectAltName | sed '1d; s/IP Address/IP/g')
        issue server ca serverAuth "$names"
        """,
    )
    try:
        hosts.good("cp1", "control_plane_service", **restart)
        problems = hosts.good("cp1", "etcd_info")["etcd"]["problems"]
        assert any("with the usages serverAuth and clientAuth" in problem for problem in problems), problems
        assert "clientAuth" in hosts.refused("cp1", "etcd_snapshot", method="gateway")
        assert hosts.good("cp1", "etcd_snapshot", name="around.db")["snapshot"]["method"] == "etcdctl"
    finally:
        hosts.root(
            "cp1", "cd /etc/kubernetes/pki/etcd && mv /root/server.crt /root/server.key . && rm server.csr server.ext"
        )
        hosts.good("cp1", "control_plane_service", **restart)
    hosts.good("cp1", "etcd_info", wait=True, timeout=120)


def test_a_member_that_lags_is_no_source_of_a_snapshot(hosts: Hosts) -> None:
    hosts.good("cp3", "etcd_maintenance", state="leader_moved")
    # Members do not reach it any more, clients do.
    rules = ("INPUT -p tcp --dport 2380 -j DROP", "OUTPUT -p tcp --dport 2380 -j DROP")
    hosts.root("cp3", "; ".join(f"iptables -I {rule}" for rule in rules))
    try:
        hosts.root("cp1", ENTRIES)
        assert "entries behind the best one" in hosts.refused("cp3", "etcd_snapshot")
        assert "entries behind the best one" in hosts.good("cp3", "etcd_info")["etcd"]["snapshot_refusal"]
    finally:
        hosts.root("cp3", "; ".join(f"iptables -D {rule}" for rule in rules))
    etcd = hosts.good("cp3", "etcd_info", wait=True, hash_check=True, timeout=120)["etcd"]
    assert etcd["snapshot_refusal"] is None


def stop_etcd(hosts: Hosts, host: str) -> None:
    hosts.root(host, "mv /etc/kubernetes/manifests/etcd.yaml /root/")
    wait_for(f"{host}'s etcd is gone", lambda: hosts.lab.ssh(host, "pgrep -x etcd; true") == "")


def test_a_member_with_other_data_is_noticed(hosts: Hosts) -> None:
    """It stays so, with its alarm: this is the one that the next test replaces."""
    hosts.lab.kubectl("-n", "kube-system", "create", "configmap", "same", "--from-literal=a=same-everywhere")
    stop_etcd(hosts, "cp3")
    # Its own check at the start would notice it and stop; only one that starts together with others gets past it.
    hosts.root(
        "cp3",
        """python3 - <<'END'
import pathlib
database = pathlib.Path("/var/lib/etcd/member/snap/db")
data = database.read_bytes()
assert data.count(b"same-everywhere")
database.write_bytes(data.replace(b"same-everywhere", b"other-over-here"))
END
        sed -i s/InitialCorruptCheck=true/InitialCorruptCheck=false/ /root/etcd.yaml
        mv /root/etcd.yaml /etc/kubernetes/manifests/""",
    )
    assert hosts.good("cp1", "etcd_info", wait=True, timeout=120)["etcd"]["healthy"], "all else is well"
    for host in ("cp1", "cp3"):
        etcd = hosts.good(host, "etcd_info", hash_check=True)["etcd"]
        (problem,) = etcd["problems"]
        assert "The members hold different data" in problem and "differs from the majority: cp3 (" in problem
        assert [member["name"] for member in etcd["members"] if not member["healthy"]] == ["cp3"]
        assert (etcd["snapshot_refusal"] is None) == (host == "cp1")
    # As etcd would say it, had it noticed: then nobody takes cp3's word, and the alarm stays.
    hosts.alarm("cp3", "CORRUPT")
    assert "alarm CORRUPT" in hosts.refused("cp3", "etcd_snapshot")
    assert hosts.good("cp1", "etcd_snapshot", check=True)["changed"]
    said = hosts.refused("cp1", "etcd_maintenance", state="alarms_disarmed")
    assert "No alarm was disarmed" in said and "The members hold different data" in said


def test_a_member_leaves_and_comes_back(hosts: Hosts) -> None:
    etcd = hosts.good("cp1", "etcd_info")["etcd"]
    url = next(member["peer_urls"][0] for member in etcd["members"] if member["name"] == "cp3")
    third = {"name": "cp3", "peer_url": url}
    assert "do not belong to one member" in hosts.refused(
        "cp1", "etcd_member", state="absent", name="cp2", peer_url=url
    )
    assert "own member" in hosts.refused("cp3", "etcd_member", state="absent", **third)

    stop_etcd(hosts, "cp3")
    second = next(member for member in etcd["members"] if member["name"] == "cp2")
    assert "lost its majority" in hosts.refused(
        "cp1", "etcd_member", state="absent", name="cp2", peer_url=second["peer_urls"][0]
    )
    gone = hosts.good("cp1", "etcd_member", state="absent", **third)
    assert gone["removed"]["name"] == "cp3" and len(gone["members"]) == 2
    assert not hosts.good("cp1", "etcd_member", state="absent", **third)["changed"]
    # etcd keeps the alarm of one that is gone.
    hosts.good("cp1", "etcd_maintenance", state="alarms_disarmed")

    added = hosts.good("cp1", "etcd_member", state="learner", **third)
    assert added["member"]["learner"] and added["initial_cluster"].count("=") == 3
    assert not hosts.good("cp1", "etcd_member", state="learner", **third)["changed"]
    assert "in sync" in hosts.refused("cp1", "etcd_member", state="promoted", name="cp3", timeout=2)
    hosts.root("cp3", "mv /var/lib/etcd/member /root/old-member && mv /root/etcd.yaml /etc/kubernetes/manifests/")
    wait_for("the learner's data are refused", lambda: "is a learner" in hosts.refused("cp3", "etcd_snapshot"))
    assert hosts.good("cp1", "etcd_member", state="promoted", name="cp3", timeout=120)["changed"]
    etcd = hosts.good("cp1", "etcd_info", wait=True, hash_check=True, timeout=60)["etcd"]
    assert etcd["quorum"] == {"members": 3, "needed": 2, "healthy": 3, "tolerates": 1}


@pytest.fixture(scope="module")
def big(hosts: Hosts) -> None:
    """A database whose snapshot takes a while."""
    program = hosts.lab.disks()["cp1"] / "root/fill.py"
    program.write_bytes((PROJECT / "benchmarks/etcd/fill.py").read_bytes())
    hosts.root("cp1", "python3 /root/fill.py 120")


@contextmanager
def small_disk(hosts: Hosts, directory: str) -> Iterator[None]:
    hosts.root("cp1", f"mkdir -p -m 0700 {directory} && mount -t tmpfs -o size=440m,mode=0700 small {directory}")
    try:
        yield
    finally:
        hosts.root("cp1", f"umount {directory}")


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize("method", ["gateway", "etcdctl"])
def test_a_disk_that_fills_up_leaves_nothing_partial(hosts: Hosts, method: str) -> None:
    directory = "/var/lib/clustercare/small"
    options: dict[str, Any] = {"dir": directory, "name": "new.db", "method": method}
    with small_disk(hosts, directory):
        older = hosts.good("cp1", "etcd_snapshot", dir=directory, name="older.db")["snapshot"]
        # etcd stands still meanwhile, so that the disk is full before the snapshot is whole.
        fill = f"pkill -STOP -x etcd; dd if=/dev/zero of={directory}/filler bs=1M; pkill -CONT -x etcd"
        hosts.once_it_streams("cp1", f"{directory}/new.db", fill)
        said = hosts.refused("cp1", "etcd_snapshot", **options)
        assert "no space left on device" in said.lower() and "make room there" in said
        assert sorted(hosts.files("cp1", directory)) == ["filler", "older.db", "older.db.json"]
        (verified,) = hosts.good("cp1", "etcd_snapshot", dir=directory, state="verified")["snapshots"]
        assert verified["sha256"] == older["sha256"]
        assert "MiB are needed: make room" in hosts.refused("cp1", "etcd_snapshot", **options)
        hosts.root("cp1", f"rm {directory}/filler")
        assert hosts.good("cp1", "etcd_snapshot", **options)["changed"]


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize("method", ["gateway", "etcdctl"])
def test_an_etcd_killed_in_mid_stream_leaves_nothing_partial(hosts: Hosts, method: str) -> None:
    directory = "/var/lib/clustercare/killed"
    options: dict[str, Any] = {"dir": directory, "name": f"{method}.db", "method": method}
    before = hosts.files("cp1", directory)
    pid = hosts.root("cp1", "pgrep -x etcd")
    hosts.once_it_streams("cp1", f"{directory}/{method}.db", "pkill -KILL -x etcd")
    said = hosts.refused("cp1", "etcd_snapshot", **options)
    assert "run this again" in said and ("Nothing of it was kept" in said or "was thrown away" in said)
    assert hosts.files("cp1", directory) == before
    hosts.good("cp1", "etcd_info", wait=True, timeout=180)
    assert hosts.root("cp1", "pgrep -x etcd") != pid
    assert hosts.good("cp1", "etcd_snapshot", **options)["changed"]
    assert hosts.good("cp1", "etcd_snapshot", dir=directory, state="verified")


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
