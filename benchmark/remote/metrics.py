"""What a server counts, in the text format that Prometheus reads."""

from __future__ import annotations

import threading


class Metrics:
    """Counts, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = dict.fromkeys(_TEXTS, 0.0)

    def answered(self, requests: int, waited: float, seconds: float) -> None:
        """Counts a batch.

        Args:
            requests: how many were answered together.
            waited: seconds that they waited before, all together.
            seconds: that the policy took.
        """
        with self._lock:
            self._values["requests_total"] += requests
            self._values["batches_total"] += 1
            self._values["waiting_seconds_total"] += waited
            self._values["policy_seconds_total"] += seconds

    def failed(self, requests: int) -> None:
        """Counts requests that the policy raised at."""
        with self._lock:
            self._values["errors_total"] += requests

    def refused(self) -> None:
        """Counts a message that is not what the protocol says."""
        with self._lock:
            self._values["refused_messages_total"] += 1

    def sessions(self, change: int) -> None:
        """Counts sessions that come (+1) and go (-1)."""
        with self._lock:
            self._values["sessions"] += change

    def text(self) -> str:
        """Writes it all down."""
        with self._lock:
            values = dict(self._values)
        lines = []
        for name, text in _TEXTS.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP vlagen_{name} {text}", f"# TYPE vlagen_{name} {kind}", f"vlagen_{name} {values[name]:g}"]
        return "\n".join(lines) + "\n"


_TEXTS = {
    "sessions": "Open sessions.",
    "requests_total": "Observations that were answered.",
    "errors_total": "Observations that the policy raised at.",
    "refused_messages_total": "Messages that were not what the protocol says.",
    "batches_total": "Calls of the policy.",
    "waiting_seconds_total": "Seconds that answered observations waited for their batch.",
    "policy_seconds_total": "Seconds in the policy.",
}
