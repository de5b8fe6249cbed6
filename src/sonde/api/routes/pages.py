"""Pages for people: the start, and the reference of this api. They need nothing from elsewhere, and no script."""

from importlib.resources import files
from typing import Annotated, Any, Final

from fastapi import Path, Request, Response
from fastapi.responses import HTMLResponse

from sonde.api.auth import scopes_of
from sonde.api.page import start_page
from sonde.api.parts import PartsOf
from sonde.api.reference import reference_page
from sonde.api.responses import failing
from sonde.api.routes.router import open_router
from sonde.errors import NotFound, SondeError
from sonde.question import Totals

router = open_router("pages")

_HTML: Final[dict[int | str, Any]] = {
    200: {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}}
}
_STATIC: Final = files("sonde.api") / "static"
_TYPES: Final = {".css": "text/css", ".svg": "image/svg+xml"}


@router.get("/", response_class=HTMLResponse, responses={**_HTML, **failing(422)})
def start(request: Request, parts: PartsOf) -> Response:
    """What this server is, and where to go. Who may read sees what is stored."""
    name, totals, notice = None, None, ""
    try:
        who, scopes = scopes_of(request, parts.access)
        name = who.name if who else None
        if "read" in scopes:
            totals = parts.desk.ask(Totals()).rows.to_pylist()[0]
    except SondeError as error:
        notice = str(error)
    page = start_page(str(request.base_url).rstrip("/"), name, totals, notice)
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


@router.get("/static/{name}", include_in_schema=False)
def static(name: Annotated[str, Path(max_length=64)]) -> Response:
    """A file that the pages need."""
    suffix = name[name.rfind(".") :]
    found = next((f for f in _STATIC.iterdir() if f.name == name), None) if suffix in _TYPES else None
    if found is None:
        raise NotFound(f"no file {name!r} belongs to these pages")
    return Response(found.read_bytes(), media_type=_TYPES[suffix], headers={"Cache-Control": "no-cache"})
