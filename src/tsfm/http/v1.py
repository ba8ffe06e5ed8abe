"""The paths under /v1: many series in one request. Bodies and answers may be large, and delay nobody else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from tsfm.engine.admission import Slot
from tsfm.engine.engine import Engine
from tsfm.engine.fields import decode
from tsfm.engine.pending import Pending
from tsfm.engine.tasks import Fields, Operation
from tsfm.http.bodies import LARGE, LargeBodies, Reading
from tsfm.http.encoding import pieces

# Up to this number of series a request is read, and its answer made if it is small, on the thread of the network.
FEW = 8
ASIDE_THREADS = 2

Decode = Callable[[bytes], Fields]
Encode = Callable[[Fields], list[bytes]]


class Operations:
    """The way of a request under /v1: from a body through the engine to the pieces of the answer.

    Other formats of bodies and answers come in as ``decode`` and ``encode``; between them all are the same fields.
    """

    def __init__(self, engine: Engine, large: LargeBodies) -> None:
        self._engine = engine
        self._large = large
        self._aside = ThreadPoolExecutor(ASIDE_THREADS, thread_name_prefix="aside")
        engine.on_close(lambda: self._aside.shutdown(wait=False, cancel_futures=True))

    def answer(
        self, operation: Operation, body: bytes, slot: Slot, decode: Decode = decode, encode: Encode = pieces
    ) -> Pending[list[bytes]]:
        """The answer to one request.

        Args:
            decode: from a body to the fields of a request, a function of a module: another process may run it.
            encode: from the fields of an answer to its bytes.

        Raises:
            BadRequest, TooLarge, OutOfMemory, NotReady; those that are found later are raised by ``get``.
        """
        engine, steps = self._engine, operation.steps()
        if len(body) > LARGE:
            read = self._large.read(body, slot, Reading(operation.steps, decode))
            return self._encoded(read.bind(lambda checked: engine.answer_checked(checked, slot, steps)), encode)
        fields = decode(body)
        series = fields.get("inputs")
        if operation.heavy or (isinstance(series, list) and len(series) > FEW):
            future: Future[Fields] = Future()
            future.set_result(fields)
            begun = Pending(future, lambda given: steps.read(given, engine.limits)).on(self._aside)
            return self._encoded(begun.bind(lambda checked: engine.answer_checked(checked, slot, steps)), encode)
        answer = engine.answer(fields, slot, steps)
        return self._encoded(answer, encode) if slot.answer_bytes > LARGE else answer.then(encode)

    def _encoded(self, answer: Pending[Fields], encode: Encode) -> Pending[list[bytes]]:
        return answer.then(encode).on(self._aside)
