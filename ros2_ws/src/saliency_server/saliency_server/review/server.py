"""The page's routes. Behind `gate.Gate`; episodes go by keys of the catalogue's table."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from importlib.resources import files
from typing import Any, TypeVar

from autofocus_core.annotation import CameraAnnotation
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields
from autofocus_core.schema import Robot
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from saliency_server.recording import read_recording
from saliency_server.review.catalogue import Catalogue, Seen
from saliency_server.review.decide import Grey, decide
from saliency_server.review.gate import Gate
from saliency_server.review.payload import details, summary
from saliency_server.review.pictures import Frames, map_png, thumbnail, topic_of

MAX_BODY_BYTES = 64 * 1024
KEPT_EPISODES = 6  # cameras whose frames stay at hand
KEPT_THUMBNAILS = 2000
MEDIA = {"css": "text/css", "svg": "image/svg+xml", "js": "text/javascript", "html": "text/html"}
NOT_KEPT = {"cache-control": "no-store"}
KEPT = {"cache-control": "private, max-age=3600"}  # the address of such an answer has its revision in it

Value = TypeVar("Value")


def make_app(catalogue: Catalogue, robot: Robot | None, port: int, token: str) -> Gate:
    """The whole server as an ASGI application."""
    return Gate(_Review(catalogue, robot, token).app, port, token)


class _Review:
    def __init__(self, catalogue: Catalogue, robot: Robot | None, token: str) -> None:
        self._catalogue, self._robot, self._token = catalogue, robot, token
        self._files = {
            file.name: file.read_bytes() for file in files("saliency_server.review").joinpath("static").iterdir()
            if file.name.rpartition(".")[2] in MEDIA
        }  # fmt: skip
        self._frames: _Kept[Frames] = _Kept(KEPT_EPISODES)
        self._thumbnails: _Kept[bytes | None] = _Kept(KEPT_THUMBNAILS)
        self._writing = threading.Lock()
        one = "/api/episodes/{key}"
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/static/{name}", self._static),
                Route("/api/episodes", self._list),
                Route(one, self._one),
                Route(one + "/thumbnail", self._thumbnail),
                Route(one + "/frames/{camera:int}/{frame:int}", self._frame),
                Route(one + "/maps/{camera:int}/{frame:int}", self._map),
                Route(one + "/review", self._decide, methods=["POST"]),
            ],
            exception_handlers={AutofocusError: _told},
        )

    def _page(self, request: Request) -> Response:
        page = self._files["index.html"].replace(b"{{token}}", self._token.encode())
        return Response(page, media_type=MEDIA["html"], headers=NOT_KEPT)

    def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        return Response(self._files[name], media_type=MEDIA[name.rpartition(".")[2]], headers=NOT_KEPT)

    def _list(self, request: Request) -> Response:
        self._catalogue.refresh()
        found, refused = [], []
        for key in self._catalogue.keys:
            try:
                found.append(summary(self._catalogue.look(key)))
            except AutofocusError as error:
                refused.append(f"{error.where}: {error.got}")
        found.sort(key=lambda each: (-each["worst"], each["name"]))
        folder = self._catalogue.root.name
        return JSONResponse({"folder": folder, "episodes": found, "refused": refused}, headers=NOT_KEPT)

    def _one(self, request: Request) -> Response:
        return JSONResponse(details(self._look(request)), headers=NOT_KEPT)

    def _thumbnail(self, request: Request) -> Response:
        seen = self._look(request)
        camera = seen.reviewed.cameras[0] if seen.reviewed is not None and seen.reviewed.cameras else None
        make = lambda: thumbnail(seen.path, camera, self._robot)  # noqa: E731
        return _image(self._thumbnails.get((seen.key, seen.revision), make), "image/jpeg")

    def _frame(self, request: Request) -> Response:
        seen = self._look(request)
        camera, frame = _place(seen, request)
        return _image(self._frames_of(seen, camera).jpeg(frame), "image/jpeg")

    def _map(self, request: Request) -> Response:
        seen = self._look(request)
        camera, frame = _place(seen, request)
        data = map_png(seen.reviewed.camera(camera.camera), seen.annotation.maps, frame)
        return Response(status_code=204, headers=NOT_KEPT) if data is None else _image(data, "image/png")

    async def _decide(self, request: Request) -> Response:
        self._look(request)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413, f"more than {MAX_BODY_BYTES} bytes")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise HTTPException(400, "no JSON") from None
        return await run_in_threadpool(self._write, request, Fields(document, "review"))

    def _write(self, request: Request, fields: Fields) -> Response:
        with self._writing:  # one after the other, each upon what the last one left
            seen = self._look(request)
            if seen.problem:
                raise AutofocusError(f"episode {seen.path.name}", seen.problem, "a readable episode", "mend it first")
            decide(seen, fields, lambda camera: self._grey(seen, camera))
            return JSONResponse(details(self._look(request)), headers=NOT_KEPT)

    def _look(self, request: Request) -> Seen:
        try:
            return self._catalogue.look(request.path_params["key"])
        except KeyError:
            raise HTTPException(404) from None

    def _grey(self, seen: Seen, camera: CameraAnnotation) -> Grey:
        return self._frames_of(seen, camera).grey

    def _frames_of(self, seen: Seen, camera: CameraAnnotation) -> Frames:
        def make() -> Frames:
            topic = read_recording(seen.path, lambda bag: topic_of(bag, camera, self._robot))
            return Frames(seen.path, topic, camera)

        return self._frames.get((seen.key, camera.camera, seen.annotation.episode_hash), make)


class _Kept(OrderedDict[Hashable, Value]):
    """The last `most` values that were asked for, each made once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._guard = most, threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        with self._guard:
            if key in self:
                self.move_to_end(key)
                return self[key]
        value = make()
        with self._guard:
            value = self.setdefault(key, value)
            while len(self) > self._most:
                self.popitem(last=False)
            return value


def _place(seen: Seen, request: Request) -> tuple[CameraAnnotation, int]:
    """Camera and frame that are asked for; 404 where there are none."""
    camera, frame = request.path_params["camera"], request.path_params["frame"]
    if seen.annotation is None or camera >= len(seen.annotation.cameras):
        raise HTTPException(404)
    found = seen.annotation.cameras[camera]
    if frame >= len(found.stamps_ns):
        raise HTTPException(404)
    return found, frame


def _image(data: bytes | None, media: str) -> Response:
    if data is None:
        return PlainTextResponse("no image", 404, headers=NOT_KEPT)
    return Response(data, media_type=media, headers=KEPT)


def _told(request: Request, error: Any) -> Response:
    return JSONResponse({"error": f"{error.where}: {error.got}; allowed: {error.allowed}; {error.fix}"}, 422)
