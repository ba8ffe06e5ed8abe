"""A stand-in for the package safetensors where it cannot be installed: only what is used of it here.

``tools/gpu_check.py`` uses it on a machine that has torch and no package index. The format is documented with the
package: eight bytes with the header's length, the header as JSON, then the tensors' bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType

# Names and not the module: this package has a module torch of its own.
from torch import Tensor, bfloat16, float16, float32, float64, frombuffer

TYPES = {"F64": float64, "F32": float32, "F16": float16, "BF16": bfloat16}
NAMES = {dtype: name for name, dtype in TYPES.items()}


class SafetensorError(Exception):
    """The file is not of this format, or holds a type that no model here has."""


class safe_open:
    """The tensors of one file; the whole file is read."""

    def __init__(self, path: Path, framework: str) -> None:
        content = Path(path).read_bytes()
        length = int.from_bytes(content[:8], "little")
        try:
            self._header = json.loads(content[8 : 8 + length])
        except ValueError as error:
            raise SafetensorError(f"the header is no JSON: {error}") from error
        self._header.pop("__metadata__", None)
        self._bytes = content[8 + length :]

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bytes = b""

    def keys(self) -> list[str]:
        return list(self._header)

    def get_tensor(self, name: str) -> Tensor:
        entry = self._header[name]
        if entry["dtype"] not in TYPES:
            raise SafetensorError(f"{name}: expected one of {', '.join(TYPES)}, got {entry['dtype']}")
        start, stop = entry["data_offsets"]
        values = frombuffer(bytearray(self._bytes[start:stop]), dtype=TYPES[entry["dtype"]])
        return values.reshape(entry["shape"])
