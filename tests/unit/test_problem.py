"""Every error of the tree has a status, and says what to do."""

import json

import pytest

from sonde import errors
from sonde.errors import (
    Conflict,
    Damaged,
    Doubtful,
    Forbidden,
    Hold,
    InUse,
    Invalid,
    KeyMissing,
    KeyRetired,
    NewerFormat,
    NotFound,
    Problem,
    Reject,
    Retry,
    SondeError,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unsupported,
)
from sonde.problem import answer_problem

STATUS: dict[type[SondeError], tuple[SondeError, int]] = {
    Retry: (Retry("the disk is full", hint="Free some"), 503),
    Doubtful: (Doubtful("no answer came back"), 503),
    Throttled: (Throttled("over the budget", after=2.1), 429),
    Hold: (Hold("stopped"), 503),
    Damaged: (Damaged("a frame is torn", file="0.log", offset=7), 503),
    KeyMissing: (KeyMissing("key-1"), 503),
    InUse: (InUse("in use"), 503),
    NewerFormat: (NewerFormat("newer"), 503),
    Reject: (Reject("no"), 422),
    Invalid: (Invalid(Problem(3, "value", "NaN is not a value")), 422),
    Unauthenticated: (Unauthenticated("no token"), 401),
    Forbidden: (Forbidden("may not"), 403),
    NotFound: (NotFound("nothing"), 404),
    Conflict: (Conflict("ahead", known=7), 409),
    KeyRetired: (KeyRetired("key-1"), 422),
    TooLarge: (TooLarge("over 16 MB"), 413),
    Unsupported: (Unsupported("text/plain"), 415),
}


def test_no_error_is_left_out() -> None:
    tree = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, SondeError)}
    assert tree - {SondeError} == set(STATUS)


@pytest.mark.parametrize(("error", "status"), STATUS.values(), ids=[e.__name__ for e in STATUS])
def test_each_error_has_its_status(error: SondeError, status: int) -> None:
    answer = answer_problem(error)
    body = json.loads(answer.content)
    assert (answer.status, body["status"], body["detail"]) == (status, status, str(error))
    assert ("Retry-After" in answer.headers) == (status in {429, 503})


def test_headers_and_members_say_what_is_known() -> None:
    assert answer_problem(Throttled("slow down", after=2.1)).headers == {"Retry-After": "3"}
    assert answer_problem(Unauthenticated("who")).headers["WWW-Authenticate"].startswith("Bearer")
    assert json.loads(answer_problem(Conflict("ahead", known=7)).content)["known"] == 7
    invalid = answer_problem(Invalid(Problem(3, "value", "NaN is not a value"), syntax=True))
    body = json.loads(invalid.content)
    assert (invalid.status, body["index"], body["field"]) == (400, 3, "value")
