"""Tensors of KServe's V2 inference protocol, as JSON and as its binary extension has them.

With the extension a body is a JSON object, as long as the header Inference-Header-Content-Length says, and behind it
the values of the tensors whose parameter ``binary_data_size`` is set, in their order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tsfm.engine.fields import encode, is_whole, kind, numbers, shown
from tsfm.engine.tasks import Fields
from tsfm.errors import BadRequest
from tsfm.http.encoding import Content
from tsfm.http.reading import decode_json

HEADER = "Inference-Header-Content-Length"
NUMERIC = {
    **{
        f"{sign}INT{bits}": np.dtype(f"<{sign.lower() or 'i'}{bits // 8}")
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
DATATYPES = (*NUMERIC, "BOOL", "BYTES")
MOST_RANK = 3
Values = NDArray[Any]


@dataclass(frozen=True)
class Decoder:
    """From a body to its JSON fields; the values of binary tensors are arrays.

    Attributes:
        header: the value of the header; None: the body is JSON.
    """

    header: str | None

    def __call__(self, body: bytes) -> Fields:
        if self.header is None:
            return decode_json(body)
        size = int(self.header) if self.header.isascii() and self.header.isdigit() and len(self.header) < 12 else -1
        if not 0 < size <= len(body):
            raise BadRequest(f"{HEADER}: expected a number of bytes up to {len(body)}, got {self.header[:40]}")
        fields = decode_json(body[:size])
        rest = memoryview(body)[size:]
        for at, tensor in enumerate(_listed(fields)):
            count = _size(tensor)
            if count is None:
                continue
            if count > len(rest):
                raise BadRequest(
                    f"inputs[{at}].parameters.binary_data_size: expected at most the {len(rest)} bytes behind the JSON "
                    f"that are left, got {count}"
                )
            tensor["data"], rest = rest[:count], rest[count:]
        if len(rest):
            raise BadRequest(f"body: expected tensors with binary_data_size for all its bytes, got {len(rest)} more")
        return fields


def read(at: int, tensor: object) -> tuple[str, Values]:
    """The name of one tensor and its values, in its shape: numbers, or texts and booleans as objects.

    Raises:
        BadRequest: one sentence that names the field, what was expected and what came.
    """
    if not isinstance(tensor, dict):
        raise BadRequest(f"inputs[{at}]: expected a tensor, got {shown(tensor)}")
    name, datatype, shape = (tensor.get(field) for field in ("name", "datatype", "shape"))
    if not isinstance(name, str):
        raise BadRequest(f"inputs[{at}].name: expected text, got {shown(name)}")
    if datatype not in DATATYPES:
        raise BadRequest(f"inputs[{at}].datatype: expected one of {', '.join(DATATYPES)}, got {shown(datatype)}")
    if not (isinstance(shape, list) and len(shape) <= MOST_RANK and all(is_whole(n) and n >= 0 for n in shape)):
        raise BadRequest(
            f"inputs[{at}].shape: expected at most {MOST_RANK} whole numbers from 0 up, got {shown(shape)}"
        )
    if not isinstance(tensor.get("parameters", {}), dict):
        raise BadRequest(f"inputs[{at}].parameters: expected an object, got {shown(tensor['parameters'])}")
    data, field = tensor.get("data"), f"inputs[{at}].data"
    values = _binary(field, data, datatype) if isinstance(data, memoryview) else _flat(field, data, datatype)
    if len(values) != math.prod(shape):
        raise BadRequest(f"inputs[{at}].data: expected {math.prod(shape)} values as shape says, got {len(values)}")
    return name, values.reshape([int(n) for n in shape])


def write(fields: Fields) -> Content:
    """The body of an answer; an output with the field ``binary`` has its values behind the JSON."""
    outputs = cast(list[dict[str, Any]], fields["outputs"])
    behind = []
    for output in outputs:
        if output.pop("binary", False):
            raw = np.ascontiguousarray(output.pop("data"), NUMERIC[output["datatype"]]).tobytes()
            output["parameters"] = {"binary_data_size": len(raw)}
            behind.append(raw)
    text = encode(fields)
    if not behind:
        return Content([text + b"\n"])
    return Content([text, *behind], {"Content-Type": "application/octet-stream", HEADER: str(len(text))})


def _listed(fields: Fields) -> Iterator[dict[str, Any]]:
    tensors = fields.get("inputs")
    for tensor in tensors if isinstance(tensors, list) else ():
        yield tensor if isinstance(tensor, dict) else {}


def _size(tensor: Mapping[str, Any]) -> int | None:
    parameters = tensor.get("parameters")
    size: Any = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    return int(size) if is_whole(size) and size >= 0 else None


def _binary(field: str, data: memoryview, datatype: str) -> Values:
    if datatype == "BYTES":
        return _objects(list(_texts(field, data)))
    dtype = np.dtype(np.bool_) if datatype == "BOOL" else NUMERIC[datatype]
    if len(data) % dtype.itemsize:
        raise BadRequest(f"{field}: expected values of {dtype.itemsize} bytes each, got {len(data)} bytes")
    values = np.frombuffer(data, dtype)
    return _objects(values.tolist()) if datatype == "BOOL" else values


def _texts(field: str, data: memoryview) -> Iterator[str]:
    """Each text is behind its length, four bytes with the lowest first."""
    try:
        while data:
            (size,) = struct.unpack_from("<I", data)
            if size > len(data) - 4:
                raise BadRequest(f"{field}: expected a text of {size} bytes, got {len(data) - 4}")
            yield str(data[4 : 4 + size], "utf-8")
            data = data[4 + size :]
    except (struct.error, UnicodeDecodeError):
        raise BadRequest(f"{field}: expected texts in UTF-8, each behind its length, got other bytes") from None


def _flat(field: str, data: object, datatype: str) -> Values:
    """The values of a list, which may be nested as the shape is."""
    values = data
    for _ in range(MOST_RANK - 1):
        if isinstance(values, list) and values and all(isinstance(row, list) for row in values):
            values = [value for row in values for value in row]
    if datatype in NUMERIC:
        return numbers(field, values)
    if not isinstance(values, list):
        raise BadRequest(f"{field}: expected a list, got {kind(values)}")
    expected = bool if datatype == "BOOL" else str
    for at, value in enumerate(values):
        if value is not None and not isinstance(value, expected):
            raise BadRequest(f"{field}[{at}]: expected a value of type {datatype}, got {shown(value)}")
    return _objects(values)


def _objects(values: Sequence[object]) -> Values:
    made = np.empty(len(values), object)
    made[:] = values
    return made
