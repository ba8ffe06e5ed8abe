"""The answer to a request, while the model still computes it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from functools import partial
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

    A future keeps its callbacks when it is done. So they are given it, and know neither it nor what knows it: they
    would keep each other, with all of the request, until a search for garbage.

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
        outer: Future[Callable[[], U]] = Future()
        finish_this = self._finish

        def continue_with(done: Future[Any]) -> None:
            try:
                inner = step(Pending(done, finish_this).get())
            except Exception as error:  # noqa: BLE001  whatever it is, the request is answered with it
                # Its frames hold the request, and through the future themselves.
                give_up(outer, error.with_traceback(None))
            else:
                inner.future.add_done_callback(partial(_pass_on, inner._finish, outer))

        self.future.add_done_callback(continue_with)
        return Pending(outer, lambda rest: rest())

    def on(self, executor: Executor) -> Pending[T]:
        """The same value, whose steps run on a thread of ``executor`` as soon as the future is done."""
        outer: Future[T] = Future()
        finish_this = self._finish

        def run(done: Future[Any]) -> None:
            try:
                value = Pending(done, finish_this).get()
            except Exception as error:  # noqa: BLE001  whatever it is, the request is answered with it
                give_up(outer, error.with_traceback(None) if isinstance(error, TsfmError) else error)
            else:
                finish(outer, value)

        def hand_over(done: Future[Any]) -> None:
            try:
                executor.submit(run, done)
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

    Not an Exception: neither Flask nor waitress may take it for a failure and answer it. Who catches it drops its
    traceback, whose frames hold the request and, in Flask's, the exception itself: both would stay until a search for
    garbage.

    Attributes:
        finish: makes the response, a WSGI application.
    """

    def __init__(self, future: Future[Any], finish: Callable[[], WSGIApplication]) -> None:
        self.future = future
        self.finish = finish


def _pass_on(step: Callable[[Any], U], outer: Future[Callable[[], U]], done: Future[Any]) -> None:
    """Settle ``outer`` as ``done`` is; its result is the step that is left, with what it begins from."""
    if done.cancelled():
        outer.cancel()
    elif error := done.exception():
        give_up(outer, error)
    else:
        rest: Callable[[], U] = partial(step, done.result())
        finish(outer, rest)


def finish(future: Future[T], result: T) -> None:
    """Set the result, unless the future is done."""
    with suppress(InvalidStateError):
        future.set_result(result)


def give_up(future: Future[Any], error: BaseException) -> None:
    """Set the error, unless the future is done."""
    with suppress(InvalidStateError):
        future.set_exception(error)
