"""The responses about the past: counts and events, snapshots and clips."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from mmpnet.runtime.web.history import MOST_EVENTS, History
from mmpnet.runtime.web.run_status import StatusRecorder

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class HistoryEndpoints:
    """Each method belongs to one address; without an event store the others but `history` are 404."""

    history: History | None
    monitor: StatusRecorder

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/history", self.status),
            Route("/events.ndjson", self.events),
            Route("/event.jpg", self.snapshot),
            Route("/clips/{camera}/{day}/{name}", self.clip),
        ]

    async def status(self, request: Request) -> Response:
        """Counts of today, people over 24 hours, and the last events; null in a run that keeps no events."""
        del request
        if self.history is None:
            return Response(b"null", media_type="application/json")
        names = [source.name for source in self.monitor.status().sources]
        status = await self._read(lambda history: history.status(names))
        return Response(msgspec.json.encode(status), media_type="application/json")

    async def events(self, request: Request) -> Response:
        """The last events as NDJSON; `?limit=N` for another number than 1000."""
        text = request.query_params.get("limit", "1000")
        limit = int(text) if text.isdecimal() and len(text) <= 9 else 0
        if not 0 < limit <= MOST_EVENTS:
            raise HTTPException(400, f"limit is {text[:20]!r}; expected a number from 1 to {MOST_EVENTS}\n")
        lines = await self._read(lambda history: history.ndjson(limit))
        return Response(lines, media_type="application/x-ndjson")

    async def snapshot(self, request: Request) -> Response:
        """The JPEG of the event `?id=ID`."""
        jpeg = await self._read(lambda history: history.snapshot(request.query_params.get("id", "")))
        if jpeg is None:
            raise HTTPException(404, "there is no snapshot of this event\n")
        # It never changes, and the page asks for it again and again.
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400, immutable"})

    async def clip(self, request: Request) -> Response:
        """A clip; browsers ask for ranges of its bytes."""
        parts = request.path_params
        path = await self._read(lambda history: history.clip(parts["camera"], parts["day"], parts["name"]))
        if path is None:
            raise HTTPException(404, "there is no such clip\n")
        return FileResponse(path, media_type="video/mp4")

    async def _read(self, read: Callable[[History], _T]) -> _T:
        """Read outside the server's thread. Raises: HTTPException."""
        history = self.history
        if history is None:
            raise HTTPException(404, "this run keeps no events\n")
        try:
            return await run_in_threadpool(read, history)
        except sqlite3.Error as error:
            raise HTTPException(503, f"the event store cannot be read ({error})\n") from error
