"""Browsers sign in with a one-time link and then hold a cookie.

Opening the link uses nothing up, since browsers and chat programs fetch links on their own: a button does.
"""

from typing import Annotated, Final

import msgspec
from fastapi import Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from sonde.access import COOKIE_LASTS
from sonde.api.acts import note_act_of
from sonde.api.answers import Session
from sonde.api.auth import COOKIE, address_of, from_own_page, is_secret, scopes_of
from sonde.api.body import FORM, read_form
from sonde.api.page import sign_in_page
from sonde.api.parts import Parts, PartsOf
from sonde.api.responses import answer, failing
from sonde.api.routes.router import open_router
from sonde.clock import SECOND
from sonde.errors import Forbidden, SondeError, Throttled, Unauthenticated
from sonde.moment import format_time
from sonde.problem import answer_problem

router = open_router("sign-in")

_HTML: Final = {"content": {"text/html": {"schema": {"type": "string"}}}}
_NOT_KEPT: Final = {"Cache-Control": "no-store"}
_TO_START: Final = {
    "description": "To the start page",
    "headers": {"Location": {"schema": {"type": "string"}}, "Set-Cookie": {"schema": {"type": "string"}}},
}
_FORM_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"link": {"type": "string", "description": "The secret of the link"}},
                    "required": ["link"],
                }
            }
        },
    }
}


@router.get(
    "/sign-in",
    response_class=HTMLResponse,
    responses={200: {"description": "A page with a button", **_HTML}, **failing(422)},
)
async def sign_in_form(
    link: Annotated[str, Query(max_length=256, description="The secret of the link")] = "",
) -> Response:
    """The page that a sign-in link opens."""
    return HTMLResponse(sign_in_page(link), headers=_NOT_KEPT)


@router.post(
    "/sign-in",
    response_class=HTMLResponse,
    status_code=303,
    responses={
        303: _TO_START,
        401: {"description": "The link was used before or is too old: the page says so", **_HTML},
        **failing(400, 403, 413, 415, 422),
        429: {"description": "Too many wrong links", **_HTML},
        503: {"description": "The control database is away", **_HTML},
    },
    openapi_extra=_FORM_BODY,
)
async def sign_in(request: Request, parts: PartsOf) -> Response:
    """Use the link up and set the cookie, good for a week."""
    if not from_own_page(request):
        raise Forbidden("a page of another origin may not sign this browser in")
    link = (await read_form(request)).get("link", "")
    try:
        if not is_secret(link):
            raise Unauthenticated("this is not a sign-in link, or a part of it is missing", hint="Copy it whole")
        cookie = await run_in_threadpool(_open_session, request, parts, link)
    except SondeError as error:
        found = answer_problem(error)
        return HTMLResponse(sign_in_page("", error), found.status, {**found.headers, **_NOT_KEPT})
    response = _to_start()
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=COOKIE_LASTS // SECOND,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post(
    "/sign-out",
    response_class=RedirectResponse,
    status_code=303,
    responses={303: _TO_START, **failing(403, 422, 503)},
)
def sign_out(request: Request, parts: PartsOf) -> Response:
    """End this browser's session, here and on the server."""
    if not from_own_page(request):
        raise Forbidden("a page of another origin may not sign this browser out")
    cookie = request.cookies.get(COOKIE, "")
    if is_secret(cookie):
        _close_session(request, parts, cookie)
    response = _to_start()
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/session", responses={200: {"model": Session, "description": "Who"}, **failing(401, 422, 429, 503)})
def session(request: Request, parts: PartsOf) -> Response:
    """Who is asking, and what they may do; nobody and nothing without token or cookie."""
    who, scopes = scopes_of(request, parts.access)
    expires = format_time(who.expires) if who and who.expires is not None else None
    return answer(msgspec.json.encode({"name": who.name if who else None, "scopes": scopes, "expires": expires}))


def _open_session(request: Request, parts: Parts, link: str) -> str:
    """The cookie for a link, which is used up."""
    who = parts.access.use_link(link, address_of(request))
    address, agent = address_of(request), request.headers.get("user-agent", "")
    note_act_of(request, who.name, "session.open", token=who.id)
    return parts.access.open_session(who, address, agent)


def _close_session(request: Request, parts: Parts, cookie: str) -> None:
    """End the session of a cookie, if it has one."""
    try:
        who = parts.access.signed_in(cookie, address_of(request))
    except (Unauthenticated, Throttled):
        return
    note_act_of(request, who.name, "session.close", token=who.id)
    parts.access.close_session(cookie)


def _to_start() -> Response:
    return RedirectResponse("/", 303, headers=_NOT_KEPT)
