"""How nodes hear of commands: a request that waits until there is something to do."""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Request, Response

from sonde.api.body import read_json
from sonde.api.command_shapes import NodePoll, NodeTasks
from sonde.api.parts import DispatcherOf
from sonde.api.responses import JSON, answer, documented
from sonde.api.routes.router import guarded
from sonde.command import Poll

router = guarded("downlink", "ingest")

_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {JSON: {"schema": NodePoll.model_json_schema()}}}
}


class _Poll(msgspec.Struct, forbid_unknown_fields=True):
    epoch: str
    session: str
    seen: Annotated[float, msgspec.Meta(ge=0, le=2**52, multiple_of=1)] = 0  # whole, also when written 3.0
    wait: Annotated[float, msgspec.Meta(ge=0, le=30)] = 0.0


async def _poll(request: Request) -> _Poll:
    return await read_json(request, _Poll)


@router.post("/downlink", responses=documented(NodeTasks, 400, 413, 415, cursor=False), openapi_extra=_BODY)
async def downlink(request: Request, dispatcher: DispatcherOf, poll: _Poll = Depends(_poll)) -> Response:  # noqa: B008
    """For nodes: what there is to do, as soon as there is something. The token names the node."""
    asked = Poll(poll.epoch, poll.session, int(poll.seen))
    waiting = asyncio.ensure_future(dispatcher.poll(request.state.who, asked, poll.wait))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():  # nobody is there to be given anything
            return Response(status_code=499)
        return answer(msgspec.json.encode(waiting.result()))
    finally:
        waiting.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
