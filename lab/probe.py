# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A user of the cluster who never looks away: asks a web service and the cluster's DNS on schedule.

Open loop: each request starts when it is due, however slow the ones before it are, on a new connection, with a limit
of one second and without a second try. Runs in a machine's network namespace; needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A probe that sent less than this part of its schedule has not looked closely enough to say anything.
ENOUGH = 0.95
# Good answers in a row before the count begins.
STEADY = 20
KEPT_FAILURES = 50


@dataclass
class Series:
    """What became of the requests of one kind."""

    rate: float
    sent: int = 0
    ok: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    slowest: float = 0.0
    last_ok: float = 0.0
    longest_gap: float = 0.0

    def done(self, started: float, seconds: float, error: str = "") -> None:
        """:param started: seconds since the probe began; answers may come in another order than the requests."""
        if not error:
            self.ok += 1
            self.slowest = max(self.slowest, seconds)
            self.longest_gap = max(self.longest_gap, started - self.last_ok)
            self.last_ok = max(self.last_ok, started)
            return
        self.failed += 1
        if len(self.failures) < KEPT_FAILURES:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))
            self.failures.append(
                {"at": at, "second": round(started, 1), "after_ms": round(seconds * 1000), "reason": error}
            )

    def due(self, seconds: float) -> int:
        """How many requests should have been sent after so many seconds; the first is due at once."""
        return math.floor(max(0.0, seconds) * self.rate + 1e-9) + 1

    def summary(self, seconds: float) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "sent": self.sent,
            "ok": self.ok,
            "failed": self.failed,
            "failures": self.failures,
            "slowest_ms": round(self.slowest * 1000),
            "longest_gap_s": round(max(self.longest_gap, seconds - self.last_ok), 2),
        }


def problems(kind: str, series: Series, seconds: float) -> list[str]:
    """Why this series is no proof of an undisturbed service; empty when it is one."""
    found = []
    expected = seconds * series.rate
    if series.sent < ENOUGH * expected:
        found.append(f"the probe itself was too slow: {series.sent} of {expected:.0f} {kind} sent")
    if series.failed:
        first = f", the first at {series.failures[0]['at']}: {series.failures[0]['reason']}" if series.failures else ""
        found.append(f"{series.failed} of {series.sent} {kind} failed{first}")
    if not series.ok:
        found.append(f"none of the {kind} was answered")
    return found


async def ask_web(address: str, port: int) -> None:
    """One GET on a new connection; the whole answer must come and be a 200."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(
            f"GET / HTTP/1.1\r\nHost: {address}\r\nUser-Agent: lab-probe\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        check_answer(await reader.read(-1))
    finally:
        writer.transport.abort()


def check_answer(answer: bytes) -> None:
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("the connection ended without an answer" if not answer else "the answer was cut short")
    status, *headers = head.decode(errors="replace").split("\r\n")
    if not status.startswith(("HTTP/1.1 200", "HTTP/1.0 200")):
        raise ValueError(f"answered {status}")
    for header in headers:
        name, _, value = header.partition(":")
        if name.lower() == "content-length" and int(value) != len(body):
            raise ValueError(f"the body has {len(body)} of {int(value)} bytes")


def dns_query(name: str, number: int) -> bytes:
    """A question for the IPv4 addresses of a name."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 1, 1)


def check_reply(reply: bytes, number: int) -> None:
    if len(reply) < 12:
        raise ValueError("the DNS answer was cut short")
    got, flags, _, answers = struct.unpack("!4H", reply[:8])
    if got != number or not flags & 0x8000:
        raise ValueError("the DNS answer belongs to another question")
    if flags & 0x000F:
        raise ValueError(f"DNS answered with code {flags & 0x000F}")
    if not answers:
        raise ValueError("DNS answered without an address")


async def ask_name(server: str, name: str, number: int) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (server, 53))
        await loop.sock_sendall(sock, dns_query(name, number))
        check_reply(await loop.sock_recv(sock, 4096), number)


def start_of(pid: int) -> str:
    """When a process started; with its number it is that process and no later one."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


@dataclass
class Probe:
    options: argparse.Namespace
    requests: Series
    names: Series
    began: float = field(default_factory=time.monotonic)
    began_at: float = field(default_factory=time.time)
    ended: float | None = None
    trouble: str = ""

    def __post_init__(self) -> None:
        self.born = start_of(self.options.home)

    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.began

    def report(self) -> dict[str, Any]:
        seconds = self.seconds()
        found = problems("requests", self.requests, seconds) + problems("names", self.names, seconds)
        if self.trouble:
            found.insert(0, self.trouble)
        return {
            "ok": not found,
            "problems": found,
            "running": self.ended is None,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began_at)),
            "seconds": round(seconds, 1),
            "requests": self.requests.summary(seconds),
            "names": self.names.summary(seconds),
        }

    def write(self) -> None:
        draft = self.options.result.with_suffix(".draft")
        draft.write_text(json.dumps(self.report(), indent=1) + "\n")
        draft.replace(self.options.result)

    async def settle(self, seconds: float) -> str:
        """Wait until both are answered steadily, so that the count begins with a service that works."""
        target, port = self.options.web.rsplit(":", 1)
        deadline, steady, why = time.monotonic() + seconds, 0, ""
        while steady < STEADY and not self.home_gone():
            try:
                async with asyncio.timeout(self.options.limit):
                    await asyncio.gather(
                        ask_web(target, int(port)), ask_name(self.options.dns, self.options.resolve, steady)
                    )
                steady += 1
            except (TimeoutError, OSError, ValueError) as failure:
                steady, why = 0, str(failure) or f"no answer within {self.options.limit:g} s"
                if time.monotonic() > deadline:
                    return f"the service and its name were not answered steadily within {seconds:g} s: {why}"
            await asyncio.sleep(0.1)
        return ""

    def home_gone(self) -> bool:
        return start_of(self.options.home) != self.born or not self.born

    async def one(self, series: Series, ask: Callable[[], Awaitable[None]]) -> None:
        started = time.monotonic()
        error = ""
        try:
            async with asyncio.timeout(self.options.limit):
                await ask()
        except TimeoutError:
            error = f"no answer within {self.options.limit:g} s"
        except (OSError, ValueError) as failure:
            error = str(failure) or type(failure).__name__
        series.done(started - self.began, time.monotonic() - started, error)

    async def keep_asking(self, series: Series, ask: Callable[[int], Awaitable[None]], stop: asyncio.Event) -> None:
        """Start every request when it is due, and those at once that a busy machine has let slip."""
        pending: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            while series.sent < series.due(time.monotonic() - self.began):
                series.sent += 1
                task = asyncio.create_task(self.one(series, lambda number=series.sent: ask(number)))  # type: ignore[misc]
                pending.add(task)
                task.add_done_callback(pending.discard)
            with contextlib.suppress(TimeoutError):
                wait = self.began + series.sent / series.rate - time.monotonic()
                await asyncio.wait_for(stop.wait(), max(0.001, wait))
        self.ended = self.ended or time.monotonic()
        if pending:
            await asyncio.wait(pending, timeout=self.options.limit + 1)

    async def watch_home(self, stop: asyncio.Event) -> None:
        """A namespace stays as long as this process is in it, but without its machine it leads nowhere."""
        written = 0.0
        while not stop.is_set():
            if self.home_gone():
                self.trouble = f"the machine that the probe looks from went away after {self.seconds():.1f} s"
                stop.set()
            if time.monotonic() - written > 2:
                written = time.monotonic()
                self.write()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.2)

    async def run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        target, port = self.options.web.rsplit(":", 1)
        self.trouble = await self.settle(self.options.patience)
        if self.trouble:
            stop.set()
        self.began, self.began_at = time.monotonic(), time.time()
        await asyncio.gather(
            self.keep_asking(self.requests, lambda _: ask_web(target, int(port)), stop),
            self.keep_asking(self.names, lambda n: ask_name(self.options.dns, self.options.resolve, n & 0xFFFF), stop),
            self.watch_home(stop),
        )
        self.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--web", required=True, help="address:port of the service")
    parser.add_argument("--dns", required=True, help="address of the cluster's DNS service")
    parser.add_argument("--resolve", required=True, help="the name to ask for")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--name-rate", type=float, default=1.0, help="names per second")
    parser.add_argument("--limit", type=float, required=True, help="seconds after which no answer is a failure")
    parser.add_argument("--patience", type=float, default=90, help="seconds until both must be answered steadily")
    parser.add_argument("--home", type=int, required=True, help="first process of the machine whose network is used")
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    os.umask(0o077)
    asyncio.run(Probe(options, Series(options.rate), Series(options.name_rate)).run())


if __name__ == "__main__":
    main()
