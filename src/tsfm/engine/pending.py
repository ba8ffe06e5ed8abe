"""What a request will get, while the model still works on it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tsfm.errors import DeadlinePassed

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

# In the environment of a request where the server understands ComeBack: what is left of the run, None at first. Under
# other servers the thread waits.
COMES_BACK = "tsfm.comes_back"
T = TypeVar("T")
U = TypeVar("U")


class Answer(Generic[T]):
    """A model's output to come, and the way from there to the answer.

    Attributes:
        future: done when ``get`` no longer waits.
    """

    def __init__(self, future: Future[Any], finish: Callable[[Any], T]) -> None:
        self.future = future
        self._finish = finish

    @classmethod
    def known(cls, answer: T) -> Answer[T]:
        """An answer that needs no model."""
        future: Future[T] = Future()
        future.set_result(answer)
        return cls(future, lambda same: same)

    def then(self, further: Callable[[T], U]) -> Answer[U]:
        """The same, one step farther."""
        finish = self._finish
        return Answer(self.future, lambda made: further(finish(made)))

    def get(self) -> T:
        """Wait for the model; the way from its output is gone in the caller's thread.

        Raises:
            DeadlinePassed, ModelFailed, OutOfMemory
        """
        try:
            made = self.future.result()
        except CancelledError:
            raise DeadlinePassed("the client has left") from None
        return self._finish(made)


class ComeBack(BaseException):
    """Raised by a view whose answer is not there yet: the server is to go on with ``finish`` when it is.

    Not an Exception: neither Flask nor waitress may take it for a failure and answer it.

    Attributes:
        finish: makes the response, a WSGI application.
    """

    def __init__(self, future: Future[Any], finish: Callable[[], WSGIApplication]) -> None:
        self.future = future
        self.finish = finish
