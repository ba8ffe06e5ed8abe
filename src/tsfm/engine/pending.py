"""The answer to a request, while the model still computes it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tsfm.errors import DeadlinePassed, NotReady, TsfmError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

# A key of a request's WSGI environment, set by servers that understand Deferred: the rest of the request's run, None
# at first. Under other servers the thread waits.
RESUME = "tsfm.resume"
T = TypeVar("T")
U = TypeVar("U")


class Pending(Generic[T]):
    """A future, and the step from its result to the value.

    Attributes:
        future: once it is done, ``get`` does not wait.
    """

    def __init__(self, future: Future[Any], finish: Callable[[Any], T]) -> None:
        self.future = future
        self._finish = finish

    @classmethod
    def known(cls, value: T) -> Pending[T]:
        """A value that needs no model."""
        future: Future[T] = Future()
        future.set_result(value)
        return cls(future, lambda same: same)

    def then(self, step: Callable[[T], U]) -> Pending[U]:
        """The same with one more step, which runs in ``get``."""
        finish = self._finish
        return Pending(self.future, lambda result: step(finish(result)))

    def bind(self, step: Callable[[T], Pending[U]]) -> Pending[U]:
        """What ``step`` makes of the value, as soon as the value is known, on the thread that makes it known."""
        outer: Future[Pending[U]] = Future()

        def continue_with(_: Future[Any]) -> None:
            try:
                inner = step(self.get())
            except Exception as error:  # noqa: BLE001  whatever it is, the request is answered with it
                # Its frames hold the request, and through the future themselves.
                give_up(outer, error.with_traceback(None))
            else:
                inner.future.add_done_callback(lambda _: finish(outer, inner))

        self.future.add_done_callback(continue_with)
        return Pending(outer, lambda inner: inner.get())

    def on(self, executor: Executor) -> Pending[T]:
        """The same value, whose steps run on a thread of ``executor`` as soon as the future is done."""
        outer: Future[T] = Future()

        def run() -> None:
            try:
                value = self.get()
            except Exception as error:  # noqa: BLE001  whatever it is, the request is answered with it
                give_up(outer, error.with_traceback(None) if isinstance(error, TsfmError) else error)
            else:
                finish(outer, value)

        def hand_over(_: Future[Any]) -> None:
            try:
                executor.submit(run)
            except RuntimeError:  # it has been shut down
                give_up(outer, NotReady("the service is stopping"))

        self.future.add_done_callback(hand_over)
        return Pending(outer, lambda value: value)

    def get(self) -> T:
        """Wait for the future; the remaining steps run on the calling thread.

        Raises:
            DeadlinePassed, ModelFailed, OutOfMemory
        """
        try:
            result = self.future.result()
        except CancelledError:
            raise DeadlinePassed("the client has closed its connection") from None
        return self._finish(result)


class Deferred(BaseException):
    """Raised by a view whose answer is pending: the server runs ``finish`` when the future is done.

    Not an Exception: neither Flask nor waitress may take it for a failure and answer it.

    Attributes:
        finish: makes the response, a WSGI application.
    """

    def __init__(self, future: Future[Any], finish: Callable[[], WSGIApplication]) -> None:
        self.future = future
        self.finish = finish


def finish(future: Future[T], result: T) -> None:
    """Set the result, unless the future is done."""
    with suppress(InvalidStateError):
        future.set_result(result)


def give_up(future: Future[Any], error: Exception) -> None:
    """Set the error, unless the future is done."""
    with suppress(InvalidStateError):
        future.set_exception(error)
