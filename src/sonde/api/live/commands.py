"""Commands over the WebSocket: the same as ``POST /commands``."""

from collections.abc import Mapping
from typing import Any

from sonde.api.commands.dispatcher import Dispatcher
from sonde.api.commands.order import Order
from sonde.api.live.viewer import RunCommand, Viewer
from sonde.command import command_json
from sonde.errors import Forbidden
from sonde.message import Command


def commands_of(dispatcher: Dispatcher) -> RunCommand:
    """What a viewer's message ``command`` does. Without a device it is for the only one that understands it."""

    async def run(viewer: Viewer, message: Command) -> Mapping[str, Any]:
        who = viewer.check()
        if not who.scopes & {"command", "admin"}:
            raise Forbidden(
                "this token may only watch", hint="Make one that may: sonde token create NAME --scope command"
            )
        device = message.device or dispatcher.only_device_with(message.command)
        order = Order(device, message.command, message.parameters)
        command = await dispatcher.accept(who, order, viewer.address)
        return {**command_json(command), "online": dispatcher.is_online(device)}

    return run
