"""Claim a place in a bucket, so that a second run with the same output is refused.

A bucket has no locks. The claim is an object that is written under the condition that there is none, and written anew
every few seconds. One that has not changed for longer than that is of a run that was killed, and is taken over under
the condition that it is still the same. No clock is compared with that of another machine.
"""

import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from mmpnet.contract.errors import MmpnetError, OutputError
from mmpnet.system.buckets import BucketPath, read_object, remove_object, version_of, write_if
from mmpnet.system.progress import Notice, no_notice


@dataclass(frozen=True, slots=True)
class Lease:
    """refresh_s: how often a run writes its claim. lost_s: without a change for that long, its run is dead."""

    refresh_s: float = 10.0
    lost_s: float = 45.0


class BucketClaim:
    """The claim of this run on a place, held until `close`, or until another run has taken over.

    notify: hears that a claim was found and is watched.

    Raises: OutputError if another run holds it, if the object cannot be written, or if the server ignores conditions.
    """

    def __init__(self, place: BucketPath, *, lease: Lease | None = None, notify: Notice = no_notice) -> None:
        self._place = place
        self._lock = BucketPath(f"{place}.lock")
        self._lease = lease or Lease()
        self._token = secrets.token_hex(8)
        self._count = 0
        self._version = self._acquired(notify)
        self._ended = threading.Event()
        self._is_lost = False
        self._thread = threading.Thread(target=self._refresh, daemon=True, name="claim of a bucket")
        self._thread.start()

    def require_held(self) -> None:
        """Raises: OutputError if another run has taken over."""
        if self._is_lost:
            raise OutputError(
                f"{self._place}: another run took over, as this one did not reach the bucket for "
                f"{self._lease.lost_s:.0f} s; stop one of them"
            )

    def close(self) -> None:
        """Release the place for the next run."""
        self._ended.set()
        self._thread.join()
        if not self._is_lost:
            with suppress(MmpnetError):  # the next run then waits until the claim is old
                remove_object(self._lock)

    def __enter__(self) -> "BucketClaim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _content(self) -> bytes:
        self._count += 1
        return f"{self._token} {self._count}\n".encode()

    def _acquired(self, notify: Notice) -> str:
        version = self._written(None) or self._written(self._abandoned(notify))
        if version is None:
            raise self._refused()
        if write_if(self._lock, self._content(), version=None) is not None:
            remove_object(self._lock)
            raise OutputError(
                f"{self._place}: its server writes objects without regard to conditions (If-None-Match), so two runs "
                "would not see one another; give a folder instead"
            )
        return version

    def _abandoned(self, notify: Notice) -> str | None:
        """The version of a claim that does not change any more; None if there is no claim now.

        Raises: OutputError if it changes.
        """
        found = version_of(self._lock)
        if found is None:
            return None
        notify(
            f"note: {self._place} is claimed by another run, or by one that was killed; this is known in at most "
            f"{self._lease.lost_s:.0f} s"
        )
        until_s = time.monotonic() + self._lease.lost_s
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, self._lease.refresh_s / 2))
            now = version_of(self._lock)
            if now is None:
                return None
            if now != found:
                raise self._refused()
        return found

    def _refused(self) -> OutputError:
        return OutputError(f"{self._place}: another run writes to it; stop that one, or choose another place")

    def _written(self, over: str | None) -> str | None:
        """Write the claim over one of this version, or where there is none; returns its new version, None if it is not
        that of this run.

        If the answer to a write is lost, the client repeats the write, and the server refuses the repetition, because
        the claim has changed: by this run itself.
        """
        written = write_if(self._lock, self._content(), version=over)
        if written is not None:
            return written
        version = version_of(self._lock)  # before the content: a claim that changes in between fails the next write
        content = read_object(self._lock)
        return version if content is not None and content.startswith(self._token.encode()) else None

    def _refresh(self) -> None:
        while not self._ended.wait(self._lease.refresh_s):
            with suppress(MmpnetError):  # the bucket is out of reach; the run itself notices that
                version = self._written(self._version)
                if version is None:
                    self._is_lost = True
                    return
                self._version = version
