"""The server of the page: which addresses there are, and what each answers."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from histomend.errors import HistomendError, InputError, OutputError
from histomend.web.contrast import Contrast
from histomend.web.drawing import Drawn, as_geojson, from_geojson
from histomend.web.guard import Guard
from histomend.web.wishes import choices
from histomend.web.work import Bench, Wish, told

LOOPBACK = "127.0.0.1"
_TYPES = {"js": "text/javascript", "css": "text/css", "html": "text/html", "txt": "text/plain"}
_STATIC = files("histomend.web") / "static"
# Seconds after which a page is told that nothing happened, so that lost ones are noticed.
_PATIENCE_S = 15.0
_POLL_S = 0.2
_log = logging.getLogger(__name__)


class Drawing(BaseModel):
    """What was drawn on the page."""

    model_config = ConfigDict(extra="forbid")

    drawing: list[Drawn] = Field(max_length=20_000)


class Place(BaseModel):
    """A part of an image, or all of it."""

    model_config = ConfigDict(extra="forbid")

    region: tuple[int, int, int, int] | None = None


def page_app(page: str, static: frozenset[str]) -> FastAPI:
    """Return an application that serves a page and its files, and says what went wrong in words.

    Parameters
    ----------
    page : file name in `static`
    static : names of the files that may be asked for
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.exception_handler(HistomendError)
    def refused(_: Request, error: HistomendError) -> JSONResponse:
        missing = isinstance(error, InputError) and str(error).startswith("There is no ")
        return JSONResponse({"error": str(error)}, 404 if missing else 422)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5]
        )
        return JSONResponse({"error": f"The request is malformed: {said}"}, 422)

    @app.exception_handler(Exception)
    def fault(_: Request, error: Exception) -> JSONResponse:
        _log.error("a fault in Histomend: %r", error)
        return JSONResponse({"error": f"A fault in Histomend: {type(error).__name__}"}, 500)

    @app.get("/")
    def index() -> Response:
        return _file(page)

    @app.get("/static/{name:path}")
    def file(name: str) -> Response:
        if name not in static:
            raise InputError("There is no such file.")
        return _file(name)

    return app


def _file(name: str) -> Response:
    kind = _TYPES[name.rpartition(".")[2]]
    return Response((_STATIC / name).read_bytes(), media_type=kind)


VIEW_FILES = frozenset(
    {
        "app.js",
        "draw.js",
        "icons.js",
        "jobs.js",
        "keys.js",
        "pane.js",
        "panel.js",
        "stage.js",
        "style.css",
        "talk.js",
        "openseadragon/openseadragon.min.js",
    }
)


def view_app(bench: Bench) -> FastAPI:
    """Return the application of the page to look, draw and run."""
    desk = bench.desk
    app = page_app("view.html", VIEW_FILES)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        bench.queue.start()
        yield
        await asyncio.to_thread(bench.queue.close)

    app.router.lifespan_context = life

    @app.get("/api/desk")
    def everything() -> dict[str, Any]:
        return {
            "items": [{"number": item.number, "name": item.name} for item in desk.items],
            "folder": str(bench.folder),
        }

    @app.get("/api/choices")
    def to_choose() -> dict[str, Any]:
        return choices(bench.models)

    @app.get("/api/items/{number}")
    def about(number: int) -> dict[str, Any]:
        return desk.about(desk.item(number))

    @app.get("/api/items/{number}/versions/{version}/record")
    def record(number: int, version: int) -> Response:
        item = desk.item(number)
        if not 0 <= version < len(item.versions) or item.versions[version].record is None:
            raise InputError("There is no record of this version.")
        found = item.versions[version].record
        return Response(found.to_json() if found else "", media_type="application/json")

    @app.get("/api/items/{number}/versions/{version}/file")
    def download(number: int, version: int) -> FileResponse:
        item = desk.item(number)
        path = item.versions[version].path if 0 <= version < len(item.versions) else None
        if path is None:
            raise InputError("There is no file of this version.")
        return FileResponse(path, filename=path.name, media_type="application/octet-stream")

    @app.get("/tiles/{number}/{version}/{layer}/{level}/{column}/{row}")
    def tile(
        number: int,
        version: int,
        layer: str,
        level: int,
        column: int,
        row: int,
        plane: int = 0,
        low: Annotated[str, Query(max_length=1000)] = "0",
        high: Annotated[str, Query(max_length=1000)] = "255",
        gamma: float = 1,
        channels: Annotated[str, Query(max_length=20)] = "",
    ) -> Response:
        shown = tuple(int(n) for n in channels.split(",") if n.isascii() and n.isdigit())
        look = Contrast(_numbers(low), _numbers(high), gamma, shown)
        place = (level, column, row, plane)
        data, kind = desk.tile(desk.item(number), version, layer, place, look)
        # The token changes with each start, and a version never does.
        return Response(data, media_type=kind, headers={"cache-control": "private, max-age=3600"})

    @app.post("/api/items/{number}/drawing")
    def export(number: int, drawing: Drawing) -> dict[str, Any]:
        first = desk.pyramid(desk.item(number), 0)
        return as_geojson(drawing.drawing, first.width, first.height)

    @app.post("/api/items/{number}/geojson")
    async def take_in(number: int, request: Request) -> list[dict[str, Any]]:
        text = await request.body()
        first = desk.pyramid(desk.item(number), 0)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"The file is no GeoJSON: {error}") from error
        return await asyncio.to_thread(from_geojson, found, first.width, first.height)

    @app.post("/api/items/{number}/detect")
    def detect(number: int, place: Place) -> list[dict[str, Any]]:
        return bench.suggest(desk.item(number), place.region)

    @app.post("/api/plan")
    def plan(wish: Wish) -> dict[str, Any]:
        return told(bench.plan(wish)[0], desk)

    @app.post("/api/jobs")
    def ask(wish: Wish) -> dict[str, Any]:
        return told(bench.ask(wish), desk)

    @app.get("/api/jobs")
    def jobs() -> list[dict[str, Any]]:
        return [told(entry, desk) for entry in bench.queue.entries]

    @app.delete("/api/jobs/{number}")
    def cancel(number: int) -> dict[str, Any]:
        return told(bench.queue.cancel(number), desk)

    @app.get("/api/events")
    async def events(request: Request) -> StreamingResponse:
        return StreamingResponse(_news(bench, request), media_type="text/event-stream")

    return app


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{text!r} are no numbers.") from error


async def _news(bench: Bench, request: Request) -> AsyncIterator[str]:
    """Yield the queue whenever it changed, as server-sent events."""
    seen, quiet = -1, 0.0
    while not await request.is_disconnected():
        version = bench.queue.version
        if version != seen:
            seen, quiet = version, 0.0
            found = [told(entry, bench.desk) for entry in bench.queue.entries]
            yield f"data: {json.dumps(found)}\n\n"
        elif quiet >= _PATIENCE_S:
            quiet = 0.0
            yield ": nothing new\n\n"
        await asyncio.sleep(_POLL_S)
        quiet += _POLL_S


def serve(app: FastAPI, port: int, ready: Callable[[str], None]) -> None:
    """Serve a page on this machine until the program is interrupted.

    Parameters
    ----------
    port : 0 for any free one.
    ready : told the address when it can be opened.

    Raises
    ------
    OutputError
        The port is taken.
    """
    token = secrets.token_urlsafe(24)
    server = _Server(
        uvicorn.Config(
            Guard(app, token),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
    )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
        except OSError as error:
            raise OutputError(
                f"Port {port} of this machine cannot be used ({error.strerror}). Name another one: "
                "--port 0 takes any that is free."
            ) from error
        address = f"http://{LOOPBACK}:{listening.getsockname()[1]}/{token}/"
        server.ready = lambda: ready(address)
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it can be asked."""

    ready: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()
