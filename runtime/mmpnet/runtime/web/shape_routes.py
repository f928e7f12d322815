"""Save a line or zone that somebody drew on the page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.web.drawn_shape import DrawnShape
from mmpnet.runtime.web.run_status import StatusRecorder

ShapeSaver: TypeAlias = Callable[[DrawnShape], str]
"""Saves a shape and returns one sentence about what happens next. Raises: MmpnetError."""
MOST_BYTES = 8192
OWN_HEADER = "X-Mmpnet"
"""Pages of other sites cannot send it without this server's permission, which it gives to none."""


@dataclass(frozen=True, slots=True)
class ShapeEndpoints:
    """Saving is refused without a token of the run, without settings to save to, and for pages of other sites."""

    save: ShapeSaver | None
    monitor: StatusRecorder

    def routes(self) -> list[Route]:
        """The addresses."""
        return [Route("/shape", self.shape, methods=["POST"])]

    async def shape(self, request: Request) -> Response:
        """Take a DrawnShape as JSON. The answer has the option for the command line, and what was done."""
        if request.headers.get(OWN_HEADER) is None:
            raise HTTPException(403, f"the header {OWN_HEADER} is missing; draw on this server's own page\n")
        try:
            shape = msgspec.json.decode(await _body(request), type=DrawnShape)
        except (msgspec.MsgspecError, ValueError) as error:
            raise HTTPException(400, f"{error}\n") from error
        if shape.camera not in {source.name for source in self.monitor.status().sources}:
            raise HTTPException(400, f"there is no camera {shape.camera[:60]!r}\n")
        if self.save is None:
            return _answer(shape, saved=False, text="This run has no settings file: give it this option.")
        try:
            text = await run_in_threadpool(self.save, shape)
        except MmpnetError as error:
            raise HTTPException(409, f"{error}\n") from error
        return _answer(shape, saved=True, text=text)


def _answer(shape: DrawnShape, *, saved: bool, text: str) -> Response:
    body = {"saved": saved, "option": shape.option, "text": text}
    return Response(msgspec.json.encode(body), media_type="application/json")


async def _body(request: Request) -> bytes:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise HTTPException(413, f"more than {MOST_BYTES} bytes\n")
    return content
