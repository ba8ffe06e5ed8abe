"""The paths under /v1: many series in one request. Bodies and answers may be large, and delay nobody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tsfm.engine.admission import Slot
from tsfm.engine.engine import Engine
from tsfm.engine.pending import Pending
from tsfm.engine.tasks import Fields, Operation
from tsfm.http.bodies import LargeBodies
from tsfm.http.encoding import Content, pieces
from tsfm.http.reading import LARGE, Body, Reading, decode_json

# Up to this number of series a request is read, and its answer made if it is small, on the thread of the network.
FEW = 8
ASIDE_THREADS = 2


@dataclass(frozen=True)
class Negotiation:
    """What the headers and the address of a request say about the form of its body and of its answer.

    Attributes:
        content_type: in small letters, without parameters.
        accept: media types that the client takes, the best first.
        query: all values of each name.
        most: bytes that the body may take unpacked.
        header: the other headers, by name.
    """

    content_type: str
    accept: Sequence[str]
    query: Mapping[str, Sequence[str]]
    most: int
    header: Callable[[str], str | None]


@dataclass(frozen=True)
class Form:
    """How the body of a request becomes fields, and the fields of its answer a body.

    Attributes:
        operation: what is asked for.
        decode: from a body to the fields of a request, a function of a module, or plain: another process may run it.
        encode: from the fields of an answer to its body.
        apart: the body is read in the other process whatever its size.
    """

    operation: Operation
    decode: Callable[[bytes], Fields] = decode_json
    encode: Callable[[Fields], Content] = pieces
    apart: bool = False


class Operations:
    """The way of a request for many series: from a body through the engine to the body of the answer.

    Whatever the form of bodies, between them are the same fields.
    """

    def __init__(self, engine: Engine, large: LargeBodies) -> None:
        self._engine = engine
        self._large = large
        self._aside = ThreadPoolExecutor(ASIDE_THREADS, thread_name_prefix="aside")
        engine.on_close(lambda: self._aside.shutdown(wait=False, cancel_futures=True))

    def answer(self, form: Form, body: Body, slot: Slot) -> Pending[Content]:
        """The answer to one request.

        Raises:
            BadRequest, TooLarge, OutOfMemory, NotReady; those that are found later are raised by ``get``.
        """
        engine, operation = self._engine, form.operation
        steps = operation.steps()
        small = None if form.apart else body.small()
        if small is None:
            grows = form.apart or bool(body.packed)
            read = self._large.read(body.data, slot, Reading(operation.steps, form.decode, body.packed, grows))
            return self._encoded(read.bind(lambda checked: engine.answer_checked(checked, slot, steps)), form)
        fields = form.decode(small)
        series = fields.get("inputs")
        if operation.heavy or (isinstance(series, list) and len(series) > FEW):
            future: Future[Fields] = Future()
            future.set_result(fields)
            begun = Pending(future, lambda given: steps.read(given, engine.limits)).on(self._aside)
            return self._encoded(begun.bind(lambda checked: engine.answer_checked(checked, slot, steps)), form)
        answer = engine.answer(fields, slot, steps)
        return self._encoded(answer, form) if slot.answer_bytes > LARGE else answer.then(form.encode)

    def _encoded(self, answer: Pending[Fields], form: Form) -> Pending[Content]:
        return answer.then(form.encode).on(self._aside)
