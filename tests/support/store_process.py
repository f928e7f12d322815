"""A process that stores one event for each line that it reads, and prints its id when it is stored."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mmpnet.runtime.events.event import CameraEvent, new_id
from mmpnet.runtime.events.store import EventStore, Retention

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def make_event(number: int, **changes: object) -> CameraEvent:
    """An event of a minute of its own."""
    facts = {"id": new_id(), "event": "appeared", "camera": "door", "stream": 0, "at": NOON + timedelta(minutes=number)}
    return CameraEvent(**{**facts, **changes})  # type: ignore[arg-type]


if __name__ == "__main__":
    # Small limits, so that deleting and shrinking happen all the time too.
    store = EventStore(Path(sys.argv[1]), destinations=["mqtt"], retention=Retention(None, 1 << 20))
    for number, _ in enumerate(sys.stdin):
        event = make_event(number)
        store.add([(event, bytes([number % 256]) * 20_000)])
        sys.stdout.write(f"{event.id}\n")
        sys.stdout.flush()
        if number % 10 == 9:
            store.prune(NOON)
