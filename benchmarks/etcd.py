# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Our snapshot of a database of about 1 GB beside etcd-save-by-hand.sh, under writes; and bits flipped one by one.

Both run the etcdctl of etcd's own container, read the same database in turns, and write to the same disk.
"""

from __future__ import annotations

import base64
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from common import PROJECT, Lab, figures, laboratory, say, table
from harness import command_of, machine_of, memory_watched, task

sys.path.insert(0, str(PROJECT / "collections"))
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_shelf import verify

BY_HAND = Path(__file__).with_name("etcd-save-by-hand.sh")
ROUNDS = 3
FLIPS = 1000
BACKUPS = "/var/lib/clustercare/backups"
MEGABYTE = 1 << 20

# 1.4 MiB of noise a key, as large as etcd takes; and 100,000 small objects, as Kubernetes has them.
FILL = """
import base64, http.client, json, os, ssl
pki = "/etc/kubernetes/pki/etcd/"
tls = ssl.create_default_context(cafile=pki + "ca.crt")
tls.load_cert_chain(pki + "healthcheck-client.crt", pki + "healthcheck-client.key")
etcd = http.client.HTTPSConnection("127.0.0.1", 2379, context=tls)
def put(pairs):
    text = lambda data: base64.b64encode(data).decode()
    puts = [{"request_put": {"key": text(key), "value": text(value)}} for key, value in pairs]
    etcd.request("POST", "/v3/kv/txn", json.dumps({"success": puts}))
    answer = etcd.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
for number in range(550):
    put([(b"noise/%d" % number, os.urandom(1468006))])
small = os.urandom(1400)
for number in range(1000):
    put([(b"small/%d/%d" % (number, each), small) for each in range(100)])
"""
# A write every 50 ms; how long each took, in milliseconds, is printed when it is told to stop.
PROBE = """
import base64, http.client, json, signal, ssl, time
pki = "/etc/kubernetes/pki/etcd/"
tls = ssl.create_default_context(cafile=pki + "ca.crt")
tls.load_cert_chain(pki + "healthcheck-client.crt", pki + "healthcheck-client.key")
etcd = http.client.HTTPSConnection("127.0.0.1", 2379, context=tls)
body = json.dumps({"key": base64.b64encode(b"probe").decode(), "value": "eA=="})
took, stopped = [], []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
while not stopped:
    began = time.monotonic()
    etcd.request("POST", "/v3/kv/put", body)
    etcd.getresponse().read()
    took.append(1000 * (time.monotonic() - began))
    time.sleep(max(0, 0.05 - (time.monotonic() - began)))
open("/root/probe.json", "w").write(json.dumps(took))
"""


class Saved(NamedTuple):
    """What one snapshot cost."""

    seconds: float
    size: int
    slowest: float
    memory: int


def put_file(lab: Lab, path: str, text: str) -> None:
    """A small file on the master, for root."""
    packed = base64.b64encode(text.encode()).decode()
    lab.ssh("cp1", f"echo {packed} | base64 -d | sudo tee {path} >/dev/null && sudo chmod 700 {path}")


@contextmanager
def written_to(lab: Lab) -> Iterator[list[float]]:
    """Write to etcd for the length of the block; the list has the milliseconds afterwards."""
    took: list[float] = []
    lab.ssh("cp1", "sudo systemd-run --quiet --collect --unit=probe python3 /root/probe.py")
    try:
        yield took
    finally:
        lab.ssh("cp1", "sudo systemctl stop probe")
        took += json.loads(lab.ssh("cp1", "sudo cat /root/probe.json"))


def costs(lab: Lab, do: Callable[[], tuple[float, int]]) -> Saved:
    """Take one snapshot under writes. ``do`` returns its seconds on the master and its size."""

    def belongs(pid: int) -> bool:
        words = command_of(pid)
        ours = "probe.py" not in words and ("python3" in words or "etcdctl" in words)
        return ours and machine_of(pid) == f"{lab.name}/cp1"

    with memory_watched(belongs) as peak, written_to(lab) as took:
        seconds, size = do()
    return Saved(seconds, size, statistics.quantiles(took, n=100)[98], peak[0] // MEGABYTE)


def by_us(lab: Lab) -> tuple[float, int]:
    done = good(lab, "etcd_snapshot", name="bench.db")
    lab.ssh("cp1", f"sudo rm {BACKUPS}/bench.db {BACKUPS}/bench.db.json")
    return float(done["elapsed"]), int(done["snapshot"]["size"])


def by_hand(lab: Lab) -> tuple[float, int]:
    command = (
        "b=$(date +%s%N); /root/save.sh /root/hand.db; e=$(date +%s%N); echo $((e - b)) $(stat -c %s /root/hand.db)"
    )
    taken, size = lab.ssh("cp1", f"sudo sh -ec '{command}'").split()
    lab.ssh("cp1", "sudo rm /root/hand.db")
    return int(taken) / 1e9, int(size)


def good(lab: Lab, module: str, **options: Any) -> dict[str, Any]:
    """Run a module on the master; one that fails ends the benchmark."""
    done = task(Path(lab.status()["inventory"]), "cp1", module, **options)
    assert not done["failed"], done["msg"]
    return done


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def flips_noticed(path: Path) -> int:
    """How many of so many flipped bits, each alone, state=verified notices. The sidecar must not help it."""
    path.with_name(path.name + ".json").unlink()
    directory, size = str(path.parent), path.stat().st_size
    assert verify(directory, path.name)["snapshots"][0]["good"]
    noticed = 0
    for bit in random.Random(size).sample(range(size * 8), FLIPS):
        flip(path, bit)
        try:
            verify(directory, path.name)
        except CareError:
            noticed += 1
        flip(path, bit)
    assert verify(directory, path.name)["snapshots"][0]["good"]
    return noticed


def middle(results: list[Saved]) -> Saved:
    """The round of the median time."""
    return sorted(results)[len(results) // 2]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="etcd-") as directory, laboratory("etcd", masters=1, workers=0) as lab:
        for name, text in (("save.sh", BY_HAND.read_text()), ("fill.py", FILL), ("probe.py", PROBE)):
            put_file(lab, f"/root/{name}", text)
        fetched = good(lab, "etcd_snapshot", name="small.db", fetch_to=directory)["fetched"]
        say(f"flipping {FLIPS} bits of a snapshot of {fetched['size'] / MEGABYTE:.1f} MiB")
        noticed = flips_noticed(Path(fetched["path"]))
        say("filling the database")
        lab.ssh("cp1", "sudo python3 /root/fill.py")
        ours: list[Saved] = []
        theirs: list[Saved] = []
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            theirs.append(costs(lab, lambda: by_hand(lab)))
            ours.append(costs(lab, lambda: by_us(lab)))
        kept = good(lab, "etcd_snapshot", name="bench.db")["snapshot"]
        verified = min(
            float(good(lab, "etcd_snapshot", state="verified", name="bench.db")["elapsed"]) for _ in range(ROUNDS)
        )

    mine, hand = middle(ours), middle(theirs)
    table(
        f"A snapshot of {mine.size / MEGABYTE:.0f} MiB with {kept['keys']} keys, proven; the median of {ROUNDS} rounds",
        ["", "seconds", "MB/s", "p99 of writes, ms", "peak memory, MiB"],
        [
            [name, one.seconds, one.size / one.seconds / 1e6, one.slowest, one.memory]
            for name, one in (("etcd_snapshot", mine), (BY_HAND.name, hand))
        ],
    )
    table(
        "state=verified",
        ["", "seconds", "MB/s"],
        [["etcd_snapshot", verified, kept["size"] / verified / 1e6]],
    )
    table("Bits flipped without a sidecar", ["", "tried", "noticed"], [["state=verified", FLIPS, noticed]])
    figures(
        save_ratio_to_etcdctl=mine.seconds / hand.seconds,
        verify_mb_per_s=kept["size"] / verified / 1e6,
        bitflips_tried=FLIPS,
        bitflips_noticed=noticed,
        save_seconds=mine.seconds,
        by_hand_seconds=hand.seconds,
        size=mine.size,
        write_p99_ms=mine.slowest,
        by_hand_write_p99_ms=hand.slowest,
        load=os.getloadavg()[0],
    )


if __name__ == "__main__":
    main()
