"""Save, change and remove the lines and zones that somebody draws on the page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mmpnet.contract.errors import MmpnetError
from mmpnet.runtime.web.drawn_shape import DrawnShape, NamedShape, ShapeSettings
from mmpnet.runtime.web.run_status import StatusRecorder

MOST_BYTES = 8192
OWN_HEADER = "X-Mmpnet"
"""Pages of other sites cannot send it without this server's permission, which it gives to none."""
_Given = TypeVar("_Given", DrawnShape, NamedShape)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ShapeEndpoints:
    """Changes are refused without a token of the run, without settings to save to, and for pages of other sites."""

    settings: ShapeSettings | None
    monitor: StatusRecorder

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/shapes", self.shapes),
            Route("/shape", self.save, methods=["POST"]),
            Route("/shape", self.remove, methods=["DELETE"]),
        ]

    async def shapes(self, request: Request) -> Response:
        """The lines and zones in the settings file; null in a run without one."""
        del request
        settings = self.settings
        return _json(None if settings is None else await _done(lambda: list(settings.shapes())))

    async def save(self, request: Request) -> Response:
        """Take a DrawnShape as JSON. The answer has the option for the command line, and what was done."""
        shape, settings = await self._given(request, DrawnShape), self.settings
        if settings is None:
            text = "This run has no settings file: give it this option."
            return _json({"saved": False, "option": shape.option, "text": text})
        return _json({"saved": True, "option": shape.option, "text": await _done(lambda: settings.save(shape))})

    async def remove(self, request: Request) -> Response:
        """Take a NamedShape as JSON, and remove it from the settings file."""
        shape, settings = await self._given(request, NamedShape), self.settings
        if settings is None:
            raise HTTPException(409, "this run has no settings file; leave the option out\n")
        return _json({"text": await _done(lambda: settings.remove(shape))})

    async def _given(self, request: Request, kind: type[_Given]) -> _Given:
        """The shape in a request. Raises: HTTPException."""
        if request.headers.get(OWN_HEADER) is None:
            raise HTTPException(403, f"the header {OWN_HEADER} is missing; draw on this server's own page\n")
        try:
            shape = msgspec.json.decode(await _body(request), type=kind)
        except (msgspec.MsgspecError, ValueError) as error:
            raise HTTPException(400, f"{error}\n") from error
        if shape.camera not in {source.name for source in self.monitor.status().sources}:
            raise HTTPException(400, f"there is no camera {shape.camera[:60]!r}\n")
        return shape


async def _done(change: Callable[[], _T]) -> _T:
    """The result of a function that reads or writes the settings. Raises: HTTPException."""
    try:
        return await run_in_threadpool(change)
    except MmpnetError as error:
        raise HTTPException(409, f"{error}\n") from error


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


async def _body(request: Request) -> bytes:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise HTTPException(413, f"more than {MOST_BYTES} bytes\n")
    return content
