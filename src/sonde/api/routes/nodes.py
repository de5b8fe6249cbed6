"""Nodes: invited, joined, their certificates renewed."""

from functools import partial
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from sonde.access import is_loopback
from sonde.api.acts import note_act, note_act_of
from sonde.api.auth import address_of, certificate_of, token_of
from sonde.api.body import read_json
from sonde.api.node_shapes import InvitationItem, JoinedItem, JoinRequest, NewInvitation, RenewedItem, RenewRequest
from sonde.api.parts import Parts, PartsOf
from sonde.api.responses import JSON, failing
from sonde.api.routes.router import guarded, open_router
from sonde.clock import SECOND
from sonde.errors import Forbidden, Invalid, NotFound, Problem
from sonde.joining import LASTS, Joining, credential_digest
from sonde.moment import format_time, parse_span
from sonde.people import Note

router = guarded("nodes", "admin")
own_router = guarded("nodes", "ingest")
joining_router = open_router("nodes")

_PEM: Final = "application/x-pem-file"
_NOT_KEPT: Final = {"Cache-Control": "no-store"}


class _NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    node: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    devices: Annotated[list[str], msgspec.Meta(max_length=100)] = []
    lasts: Annotated[str, msgspec.Meta(max_length=64)] = ""


class _JoinRequest(msgspec.Struct, forbid_unknown_fields=True):
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    request: Annotated[str, msgspec.Meta(max_length=8192)] = ""


class _RenewRequest(msgspec.Struct, forbid_unknown_fields=True):
    request: Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]


async def _new_invitation(request: Request) -> _NewInvitation:
    return await read_json(request, _NewInvitation)


async def _renew_request(request: Request) -> _RenewRequest:
    return await read_json(request, _RenewRequest)


def _body(model: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {JSON: {"schema": model.model_json_schema()}}}}


def _joining(parts: Parts, note: Note) -> Joining:
    return Joining(parts.access, parts.clock, note, parts.authority, pinned=parts.pinned)


@router.post(
    "/nodes/invitations",
    status_code=201,
    responses={
        201: {"model": InvitationItem, "description": "The invitation. Its code is shown this once"},
        **failing(400, 401, 403, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra=_body(NewInvitation),
)
def invite(request: Request, parts: PartsOf, new: _NewInvitation = Depends(_new_invitation)) -> Response:  # noqa: B008
    """A one-time code with which a node of this name joins: `sonde node join URL CODE`. An earlier one for the same name is
    worth nothing any more."""
    made = _joining(parts, partial(note_act, request)).invite(new.node, new.devices, _lasts(new.lasts))
    content = {"node": made.node, "code": made.code, "expires": format_time(made.expires)}
    return Response(msgspec.json.encode(content), 201, _NOT_KEPT, JSON)


@joining_router.post(
    "/nodes/join",
    responses={
        200: {"model": JoinedItem, "description": "The node's credential. It is shown this once"},
        **failing(400, 401, 403, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra=_body(JoinRequest),
)
async def join(request: Request, parts: PartsOf) -> Response:
    """Use a code up: the node gets a token, and a certificate for the key of its request. What it had before ends."""
    address = address_of(request)
    if request.url.scheme != "https" and not is_loopback(address):
        raise Forbidden("nobody joins over plain HTTP from another machine", hint="Turn TLS on: sonde init --tls")
    asked = await read_json(request, _JoinRequest)
    code, csr = asked.code.partition(".")[0], asked.request

    def note(what: str, on: str = "", /, **detail: str) -> None:
        note_act_of(request, on, what, on, **detail)

    made = await run_in_threadpool(_joining(parts, note).join, code, csr, address)
    content = {
        "node": made.node,
        "token": made.token,
        "certificate": made.certificate or None,
        "authority": made.authority or None,
    }
    return Response(msgspec.json.encode(content), 200, _NOT_KEPT, JSON)


@joining_router.get(
    "/nodes/authority",
    response_class=Response,
    responses={
        200: {"description": "A certificate in PEM", "content": {_PEM: {"schema": {"type": "string"}}}},
        **failing(404, 422, 503),
    },
)
def authority(parts: PartsOf) -> Response:
    """The certificate of the private authority. Trust it only if its fingerprint is that in a code, or was told otherwise."""
    found = parts.authority()
    if found is None:
        raise NotFound("this server has no private authority", hint="Make one beside it: sonde init --tls")
    return Response(found.pem(), 200, {"Cache-Control": "no-cache"}, _PEM)


@own_router.post(
    "/nodes/renew",
    responses={
        200: {"model": RenewedItem, "description": "A new certificate"},
        **failing(400, 401, 403, 404, 413, 415, 422, 429, 503),
    },
    openapi_extra=_body(RenewRequest),
)
def renew(request: Request, parts: PartsOf, asked: _RenewRequest = Depends(_renew_request)) -> Response:  # noqa: B008
    """A new certificate for the node that asks, with its token or the certificate that it has."""
    names = credential_digest(token_of(request), certificate_of(request))
    made = _joining(parts, partial(note_act, request)).renew(request.state.who, names, asked.request)
    content = {"certificate": made.certificate, "authority": made.authority}
    return Response(msgspec.json.encode(content), 200, _NOT_KEPT, JSON)


def _lasts(text: str) -> int:
    if not text:
        return LASTS
    try:
        return round(parse_span(text) * SECOND)
    except Invalid:
        raise Invalid(Problem(None, "lasts", f"{text!r} is no span such as 1h")) from None
