"""Pages for people: the dashboard, and the reference of this api. They need nothing from elsewhere."""

import hashlib
from importlib.resources import files
from typing import Annotated, Any, Final

from fastapi import Path, Request, Response
from fastapi.responses import HTMLResponse

from sonde.api.auth import scopes_of
from sonde.api.page import dashboard_page, start_page
from sonde.api.parts import PartsOf
from sonde.api.reference import reference_page
from sonde.api.responses import failing
from sonde.api.routes.router import open_router
from sonde.errors import NotFound, SondeError

router = open_router("pages")

_HTML: Final[dict[int | str, Any]] = {
    200: {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}}
}
_TYPES: Final = {".css": "text/css", ".svg": "image/svg+xml", ".js": "text/javascript"}


def _static_files() -> dict[str, tuple[bytes, str, str]]:
    """What lies in the folder ``static``: by name, its content, its type, and a tag that changes with the content."""
    root = files("sonde.api") / "static"
    found = {}
    for folder, prefix in ((root, ""), (root / "vendor", "vendor/")):
        for file in folder.iterdir():
            media = _TYPES.get(file.name[file.name.rfind(".") :])
            if media is not None:
                content = file.read_bytes()
                found[prefix + file.name] = content, media, f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return found


STATIC: Final = _static_files()
MODULES: Final = tuple(sorted(name for name in STATIC if name.endswith(".js")))


@router.get("/", response_class=HTMLResponse, responses={**_HTML, **failing(422)})
def start(request: Request, parts: PartsOf) -> Response:
    """The dashboard for who may read; for all others how to sign in, and how to send a reading."""
    notice = ""
    try:
        may_read = "read" in scopes_of(request, parts.access)[1]
    except SondeError as error:
        may_read, notice = False, str(error)
    page = dashboard_page(MODULES) if may_read else start_page(str(request.base_url).rstrip("/"), notice)
    return HTMLResponse(page, headers={"Cache-Control": "no-store"})


@router.get("/docs", response_class=HTMLResponse, responses={**_HTML, **failing(422)})
def reference(request: Request) -> Response:
    """This reference, made from `/openapi.json`."""
    page = reference_page(request.app.openapi(), str(request.base_url).rstrip("/"))
    return HTMLResponse(page, headers={"Cache-Control": "no-cache"})


@router.get(
    "/openapi.json",
    responses={
        200: {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}},
        **failing(422),
    },
)
def document(request: Request) -> Response:
    """The OpenAPI document of this api."""
    content: bytes = request.app.state.document()
    return Response(content, media_type="application/json", headers={"Cache-Control": "no-cache"})


@router.get("/static/{name:path}", include_in_schema=False)
def static(request: Request, name: Annotated[str, Path(max_length=64)]) -> Response:
    """A file that the pages need."""
    if name not in STATIC:
        raise NotFound(f"no file {name!r} belongs to these pages")
    content, media, tag = STATIC[name]
    headers = {"Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media, headers=headers)
