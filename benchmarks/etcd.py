# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Snapshots of a big etcd beside etcd-save-by-hand.sh, bits flipped one by one, a restore beside restore-by-hand.sh.

save: both run the etcdctl of etcd's own container, read the same database in turns while others write to it, put it on
the same disk and prove its SHA-256. Seconds are those on the master, without SSH and the start of Ansible.
flips: each flipped alone, and proven as state=verified does it, without a sidecar.
restore: three masters, each time brought back to one saved state. The outage is the longest time in which no write
through the load balancer worked, tried ten times a second in both cases.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import random
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from common import (
    PROJECT,
    Lab,
    figures,
    laboratory,
    play,
    run,
    saved,
    say,
    ssh_config,
    table,
    wait_for,
    well,
)
from harness import command_of, machine_of, memory_watched, task

sys.path.insert(0, str(PROJECT / "collections"))
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_shelf import verify

HERE = Path(__file__).parent
SAVE_BY_HAND, RESTORE_BY_HAND = HERE / "etcd-save-by-hand.sh", HERE / "restore-by-hand.sh"
BACKUPS = "/var/lib/clustercare/backups"
MEGABYTE = 1 << 20
FLIPPED = 10  # megabytes put into the database whose bits are flipped
LARGEST_FLIPPED = 20_000_000


def good(lab: Lab, module: str, **options: Any) -> dict[str, Any]:
    """Run a module on the first master; one that fails ends the benchmark."""
    done = task(Path(lab.status()["inventory"]), "cp1", module, **options)
    assert not done["failed"], done["msg"]
    return done


def put_file(lab: Lab, path: str, source: Path) -> None:
    """A small program on the first master, for root."""
    packed = base64.b64encode(source.read_bytes()).decode()
    lab.ssh("cp1", f"echo {packed} | base64 -d | sudo tee {path} >/dev/null && sudo chmod 700 {path}")


def fill(lab: Lab, megabytes: int) -> None:
    say(f"filling the database with {megabytes} MB")
    put_file(lab, "/root/fill.py", HERE / "etcd" / "fill.py")
    lab.ssh("cp1", f"sudo python3 /root/fill.py {megabytes}")


# --- save and verify


class Saved(NamedTuple):
    """What one snapshot cost."""

    seconds: float
    size: int
    slowest: float
    memory: int


@contextmanager
def written_to(lab: Lab) -> Iterator[list[float]]:
    """Write to etcd for the length of the block; the list has the milliseconds afterwards."""
    took: list[float] = []
    lab.ssh("cp1", "sudo systemd-run --quiet --collect --unit=probe python3 /root/probe.py /root/probe.json")
    try:
        yield took
    finally:
        lab.ssh("cp1", "sudo systemctl stop probe")
        took += json.loads(lab.ssh("cp1", "sudo cat /root/probe.json"))


def costs(lab: Lab, do: Callable[[Lab], tuple[float, int]]) -> Saved:
    """Take one snapshot under writes. ``do`` returns its seconds on the master and its size."""

    def belongs(pid: int) -> bool:
        words = command_of(pid)
        ours = "probe.py" not in words and ("python3" in words or "etcdctl" in words)
        return ours and machine_of(pid) == f"{lab.name}/cp1"

    os.sync()  # what was written before is not to be waited for
    with memory_watched(belongs) as peak, written_to(lab) as took:
        seconds, size = do(lab)
    return Saved(seconds, size, quantiles(took, n=100)[98], peak[0] // MEGABYTE)


def save_by_us(lab: Lab) -> tuple[float, int]:
    done = good(lab, "etcd_snapshot", name="bench.db")
    lab.ssh("cp1", f"sudo rm {BACKUPS}/bench.db {BACKUPS}/bench.db.json")
    return float(done["elapsed"]), int(done["snapshot"]["size"])


def save_by_hand(lab: Lab) -> tuple[float, int]:
    command = (
        "b=$(date +%s%N); /root/save.sh /root/hand.db; e=$(date +%s%N); echo $((e - b)) $(stat -c %s /root/hand.db)"
    )
    taken, size = lab.ssh("cp1", f"sudo sh -ec '{command}'").split()
    lab.ssh("cp1", "sudo rm /root/hand.db")
    return int(taken) / 1e9, int(size)


def middle(results: list[Saved]) -> Saved:
    """The round of the median time."""
    return sorted(results)[len(results) // 2]


def save(lab: Lab, options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    put_file(lab, "/root/save.sh", SAVE_BY_HAND)
    put_file(lab, "/root/probe.py", HERE / "etcd" / "probe.py")
    fill(lab, options.size)
    ours: list[Saved] = []
    theirs: list[Saved] = []
    for number in range(options.rounds):
        turns = ((theirs, save_by_hand), (ours, save_by_us))
        for who, do in turns if number % 2 else reversed(turns):
            who.append(costs(lab, do))
            say(f"round {number + 1} of {options.rounds}, {do.__name__}: {who[-1].seconds:.1f} s")
    kept = good(lab, "etcd_snapshot", name="bench.db")["snapshot"]
    verified = median(
        float(good(lab, "etcd_snapshot", state="verified", name="bench.db")["elapsed"]) for _ in range(options.rounds)
    )
    mine, hand = middle(ours), middle(theirs)
    table(
        f"A snapshot of {kept['size'] / 1e6:.0f} MB with {kept['keys']} keys, proven; the median of {options.rounds}",
        ["", "seconds", "all", "MB/s", "p99 of writes, ms", "peak memory, MiB"],
        [
            [
                name,
                middle(all_).seconds,
                " ".join(f"{one.seconds:.1f}" for one in all_),
                middle(all_).size / middle(all_).seconds / 1e6,
                middle(all_).slowest,
                middle(all_).memory,
            ]
            for name, all_ in (("etcd_snapshot", ours), (SAVE_BY_HAND.name, theirs))
        ],
    )
    table("state=verified", ["", "seconds", "MB/s"], [["etcd_snapshot", verified, kept["size"] / verified / 1e6]])
    return {
        "save_ratio_to_etcdctl": mine.seconds / hand.seconds,
        "verify_mb_per_s": kept["size"] / verified / 1e6,
        "save_seconds": mine.seconds,
        "save_by_hand_seconds": hand.seconds,
        "snapshot_bytes": kept["size"],
        "write_p99_ms": mine.slowest,
        "by_hand_write_p99_ms": hand.slowest,
        "save_memory_mib": mine.memory,
        "save_by_hand_memory_mib": hand.memory,
    }


# --- flipped bits


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def flips(lab: Lab, options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """How many of so many flipped bits are noticed when there is no sidecar that knows the whole file's digest."""
    fill(lab, FLIPPED)
    fetched = good(lab, "etcd_snapshot", name="small.db", fetch_to=str(directory))["fetched"]
    path = Path(fetched["path"])
    size = path.stat().st_size
    assert size <= LARGEST_FLIPPED, f"the snapshot is too large to be read so often: {size} bytes"
    path.with_name(path.name + ".json").unlink()
    say(f"flipping {options.flips} bits of a snapshot of {size / 1e6:.1f} MB, chosen with --seed {options.seed}")

    def noticed() -> bool:
        try:
            return not verify(str(directory), path.name)["snapshots"][0]["good"]
        except CareError:
            return True

    assert not noticed(), "it is not good before anything was flipped"
    found = 0
    for bit in random.Random(options.seed).sample(range(size * 8), options.flips):
        flip(path, bit)
        if noticed():
            found += 1
        else:
            say(f"bit {bit} was not noticed")
        flip(path, bit)
    assert not noticed(), "it is not good after everything was flipped back"
    table(
        f"Bits flipped, one at a time, in a snapshot of {size / 1e6:.1f} MB without a sidecar",
        ["", "seed", "tried", "noticed"],
        [["state=verified", options.seed, options.flips, found]],
    )
    return {"bitflips_tried": options.flips, "bitflips_noticed": found, "bitflips_seed": options.seed}


# --- restore


class Writer:
    """Somebody who tries to write through the load balancer, each time on a new connection."""

    EVERY = 0.1
    LIMIT = 1.0
    PATH = "/api/v1/namespaces/default/configmaps/probe"

    def __init__(self, lab: Lab, directory: Path) -> None:
        config = json.loads(lab.kubectl("config", "view", "--raw", "-o", "json"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = urlsplit(cluster["server"]).netloc
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        pair = directory / "client.pem"
        pair.touch(0o600)
        pair.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
        self._tls.load_cert_chain(pair)
        self._done = threading.Event()
        self.worked: list[float] = []
        self.failed = 0

    def __enter__(self) -> Writer:
        self._thread = threading.Thread(target=self._keep_writing)
        self._thread.start()
        wait_for("a write works", lambda: bool(self.worked))
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def write(self) -> bool:
        connection = http.client.HTTPSConnection(self._server, context=self._tls, timeout=self.LIMIT)
        try:
            body = json.dumps({"data": {"now": repr(time.time())}})
            connection.request("PATCH", self.PATH, body, {"Content-Type": "application/merge-patch+json"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _keep_writing(self) -> None:
        began = time.monotonic()
        while not self._done.wait(max(0.0, began + self.EVERY - time.monotonic())):
            began = time.monotonic()
            if self.write():
                self.worked.append(time.monotonic())
            else:
                self.failed += 1

    @property
    def outage(self) -> float:
        """The longest time between two writes that worked."""
        return max(later - earlier for earlier, later in zip(self.worked, self.worked[1:], strict=False))


class Restored(NamedTuple):
    """What a way to restore cost."""

    outage: float
    failed: int
    seconds: float


class Restores:
    """A lab of three masters, a snapshot of it, and what happened afterwards."""

    def __init__(self, lab: Lab, directory: Path, logs: Path) -> None:
        self.lab, self.directory, self.logs = lab, directory, logs
        self.inventory = Path(lab.status()["inventory"])
        lab.kubectl("create", "configmap", "probe")
        well(play("backup-etcd.yml", self.inventory, etcd_backup_dir=str(directory / "backup")))
        (self.snapshot,) = (directory / "backup").glob("*.db")
        lab.kubectl("create", "configmap", "later")

    def by_us(self, log: Path) -> None:
        variables = {
            "etcd_restore_snapshot": str(self.snapshot),
            "etcd_restore_confirm": "kubernetes",
            "etcd_restore_backup_dir": str(self.directory / log.stem),
        }
        log.write_text(well(play("restore-etcd.yml", self.inventory, **variables)).output)

    def by_hand(self, log: Path) -> None:
        config = ssh_config(self.lab, self.directory / "ssh_config")
        masters = [name for name, one in self.lab.status()["machines"].items() if one["role"] == "master"]
        run([RESTORE_BY_HAND, config, self.snapshot, *masters], log)

    def measured(self, name: str, do: Callable[[Path], None], number: int) -> Restored:
        log = self.logs / f"{name}-{number}.log"
        say(f"restoring with {name}; the log is {log}")
        with Writer(self.lab, self.directory) as writer:
            began = time.monotonic()
            do(log)
            seconds = time.monotonic() - began
        self.prove(name)
        say(f"{name}: an outage of {writer.outage:.1f} s, {seconds:.1f} s in all")
        return Restored(writer.outage, writer.failed, seconds)

    def prove(self, name: str) -> None:
        """Both ways have to arrive, or the seconds mean nothing."""
        found = [one["metadata"]["name"] for one in self.lab.get("configmaps")["items"]]
        assert "probe" in found and "later" not in found, f"{name}: {found}"
        hashes = good(self.lab, "etcd_info", hash_check=True)["etcd"]["hash"]
        assert hashes["agree"], f"{name}: {hashes}"


def restore(lab: Lab, options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    if options.restore_size:
        fill(lab, options.restore_size)
    bench = Restores(lab, directory, Path(tempfile.mkdtemp(prefix="etcd-restore-")))
    size = bench.snapshot.stat().st_size
    ways = (("restore-etcd.yml", bench.by_us), (RESTORE_BY_HAND.name, bench.by_hand))
    found: dict[str, list[Restored]] = {name: [] for name, _ in ways}
    with saved(lab) as back:
        for number in range(options.restore_rounds):
            for name, do in ways if number % 2 else reversed(ways):
                if any(found.values()):
                    back()
                found[name].append(bench.measured(name, do, number))
    table(
        f"Three masters restored from a snapshot of {size / 1e6:.0f} MB, the median of {options.restore_rounds}",
        ["", "seconds of outage", "all", "writes that failed", "seconds in all"],
        [
            [
                name,
                median(one.outage for one in all_),
                " ".join(f"{one.outage:.1f}" for one in all_),
                round(median(one.failed for one in all_)),
                median(one.seconds for one in all_),
            ]
            for name, all_ in found.items()
        ],
    )
    ours, script = (median(one.outage for one in all_) for all_ in found.values())
    return {
        "restore_ratio_to_script": ours / script,
        "restore_outage_seconds": ours,
        "script_outage_seconds": script,
        "restored_bytes": size,
    }


PARTS = {"flips": (flips, 1), "save": (save, 1), "restore": (restore, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only these; all when not given")
    parser.add_argument("--rounds", type=int, default=3, help="snapshots taken and proven in each way")
    parser.add_argument("--size", type=int, default=1000, metavar="MB", help="of the database that is saved")
    parser.add_argument("--flips", type=int, default=1000, help="bits to flip")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="chooses the bits")
    parser.add_argument("--restore-rounds", type=int, default=1, help="restores in each way")
    parser.add_argument("--restore-size", type=int, default=0, metavar="MB", help="put into the database beforehand")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    wanted = [name for name in PARTS if name in (options.part or PARTS)]
    # Those that need one master share a lab, and the small database comes first.
    for masters in sorted({PARTS[name][1] for name in wanted}):
        with laboratory("etcd", masters=masters, workers=0) as lab:
            for name in wanted:
                part, needed = PARTS[name]
                if needed == masters:
                    with tempfile.TemporaryDirectory(prefix="etcd-") as directory:
                        found |= part(lab, options, Path(directory))
    figures(**found, load=os.getloadavg()[0])


if __name__ == "__main__":
    main()
