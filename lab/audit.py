# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an API server of a lab answered, by its audit log, which it goes on writing while it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def end(log: Path) -> int:
    """Where the log ends now, perhaps within a line; 0 where there is none yet."""
    return log.stat().st_size if log.exists() else 0


def events(log: Path, since: int = 0) -> list[dict[str, Any]]:
    """What was answered after such an end, the oldest request first; a line without its line break is not there yet."""
    if not log.exists():
        return []
    with log.open("rb") as source:
        # From the byte before: what comes until the next line break had been answered before ``since``.
        source.seek(max(since - 1, 0))
        if since:
            source.readline()
        lines = [line for line in source if line.endswith(b"\n")]
    answered = [event for event in map(json.loads, lines) if event["stage"] == "ResponseComplete"]
    return sorted(answered, key=lambda event: str(event["requestReceivedTimestamp"]))
