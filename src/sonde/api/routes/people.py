"""Tokens and sessions: who may come in, and who is in."""

from functools import partial
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Path, Request, Response

from sonde.api.acts import note_act
from sonde.api.body import read_json
from sonde.api.filters import Limit, Skip
from sonde.api.parts import PartsOf
from sonde.api.people_shapes import MadeToken, NewToken, SessionItem, TokenItem
from sonde.api.responses import JSON, answer, documented, failing, next_page
from sonde.api.routes.router import guarded
from sonde.errors import Conflict
from sonde.people import People, described, described_session, parse_end

router = guarded("people", "admin")

_GONE: Final[dict[int | str, Any]] = {
    204: {"description": "It ended"},
    **failing(401, 403, 404, 422, 429, 503),
}
_Id = Annotated[str, Path(max_length=64)]


def _people(request: Request, parts: PartsOf) -> People:
    return People(parts.access.control, parts.clock, partial(note_act, request))


PeopleOf = Annotated[People, Depends(_people)]


class _NewToken(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    scopes: Annotated[list[str], msgspec.Meta(min_length=1, max_length=4)]
    devices: Annotated[list[str], msgspec.Meta(max_length=100)] = []
    node: Annotated[str, msgspec.Meta(max_length=256)] = ""
    expires: Annotated[str, msgspec.Meta(max_length=64)] = ""


async def _new_token(request: Request) -> _NewToken:
    return await read_json(request, _NewToken)


@router.get("/tokens", responses=documented(list[TokenItem], cursor=False, link=True))
def tokens(request: Request, parts: PartsOf, limit: Limit = 1_000, skip: Skip = 0) -> Response:
    """All tokens, oldest first, without their secrets."""
    now = parts.clock.now()
    return _page(request, [described(token, now) for token in parts.access.control.tokens()], limit, skip)


@router.post(
    "/tokens",
    status_code=201,
    responses={
        201: {"model": MadeToken, "description": "The token. Its secret is shown this once"},
        **failing(400, 401, 403, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {JSON: {"schema": NewToken.model_json_schema()}}},
    },
)
def create_token(people: PeopleOf, parts: PartsOf, new: _NewToken = Depends(_new_token)) -> Response:  # noqa: B008
    """Make a token. Two valid ones may share a name, so that one can take over from the other."""
    now = parts.clock.now()
    ends = parse_end(new.expires, now, "expires") if new.expires else None
    token, made = people.create_token(new.name, new.scopes, devices=new.devices, node=new.node, expires=ends)
    content = msgspec.json.encode({**described(made, now), "token": token.text})
    return Response(content, 201, {"Cache-Control": "no-store"}, JSON)


@router.delete(
    "/tokens/{token_id}",
    status_code=204,
    response_class=Response,
    responses={**_GONE, **failing(409)},
)
def revoke_token(request: Request, people: PeopleOf, token_id: _Id) -> Response:
    """Revoke a token and end its sessions, within a second. Not the one that asks: nobody locks themselves out by mistake."""
    if token_id == request.state.who.id:
        raise Conflict("this is the token that you ask with", hint="Use another one, or sonde token revoke")
    people.revoke_token(token_id, by_name=False)
    return Response(status_code=204)


@router.get("/sessions", responses=documented(list[SessionItem], cursor=False, link=True))
def sessions(request: Request, people: PeopleOf, limit: Limit = 1_000, skip: Skip = 0) -> Response:
    """Browsers that are signed in, and links that wait to be used; newest first."""
    return _page(request, [described_session(session) for session in people.sessions()], limit, skip)


@router.delete("/sessions/{session_id}", status_code=204, response_class=Response, responses=_GONE)
def revoke_session(people: PeopleOf, session_id: _Id) -> Response:
    """Sign a browser out, or make a link worthless, within a second."""
    people.end_session(session_id)
    return Response(status_code=204)


def _page(request: Request, items: list[dict[str, object]], limit: int, skip: int) -> Response:
    link = next_page(request, skip=skip + limit, limit=limit) if len(items) > skip + limit else ""
    return answer(msgspec.json.encode(items[skip : skip + limit]), link=link)
