"""Questions to something elsewhere, from those who cannot wait until it answers: a server that hangs says nothing at all."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from sonde.errors import Retry

_T = TypeVar("_T")
_AFTER: Final = 2.0


class Impatience:
    """Asks ``what`` on a thread for each question. As long as one has had no answer in its time, nothing more is asked. Any
    thread may call it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._late: Future[Any] | None = None

    def ask(self, work: Callable[[], _T], seconds: float) -> _T:
        """What ``work`` gives or raises; :class:`Retry` if that takes longer than so many seconds, or something else does."""
        if self._late is not None and not self._late.done():
            raise self._no_answer()
        answer: Future[_T] = Future()
        threading.Thread(target=_work, args=(work, answer), name=f"ask-{self._what}", daemon=True).start()
        try:
            return answer.result(seconds)
        except TimeoutError:
            self._late = answer
            raise self._no_answer() from None

    def _no_answer(self) -> Retry:
        return Retry(f"the {self._what} does not answer", after=_AFTER)


def _work(work: Callable[[], _T], answer: "Future[_T]") -> None:
    try:
        answer.set_result(work())
    except BaseException as error:
        answer.set_exception(error)
