"""How every route that asks the store begins: who asks, are its parameters known, then a turn at the desk."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends

from sonde.api.auth import needs
from sonde.api.filters import only_known_parameters
from sonde.api.parts import DeskOf


async def _question_turn(desk: DeskOf) -> AsyncIterator[None]:
    async with desk.questions.turn():
        yield


async def _sql_turn(desk: DeskOf) -> AsyncIterator[None]:
    async with desk.sql.turn():
        yield


# The turn ends with the handler, not with the response: a client that reads slowly holds nobody up.
question_turn = Depends(_question_turn, scope="function")
sql_turn = Depends(_sql_turn, scope="function")


def guarded(tag: str, scope: str, *more: Any) -> APIRouter:
    """A router whose routes need ``scope`` and refuse parameters that they do not know."""
    return APIRouter(tags=[tag], dependencies=[needs(scope), only_known_parameters, *more])


def open_router(tag: str) -> APIRouter:
    """A router whose routes anyone may use."""
    return APIRouter(tags=[tag], dependencies=[only_known_parameters])
