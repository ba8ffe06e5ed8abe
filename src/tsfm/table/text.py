"""Turns a file's bytes into text: unpacks packed files, names other formats, detects the encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

from tsfm.errors import UsageError

LARGEST = 1 << 30
PACKED: dict[bytes, Callable[[io.BytesIO], io.BufferedIOBase]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
# First bytes of formats that are no text, and what the user can do.
FOREIGN = {
    b"PK\x03\x04": "a workbook or a zip archive; save it as CSV, or unpack it first",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old form; save it as CSV",
    b"PAR1": "a Parquet file; write it as CSV first",
    b"ARROW1": "an Arrow file; write it as CSV first",
    b"ORC": "an ORC file; write it as CSV first",
    b"Obj\x01": "an Avro file; write it as CSV first",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it first: zstd -d FILE",
    b"7z\xbc\xaf": "packed by 7-Zip; unpack it first",
    b"SQLite format 3": "an SQLite database; write the column as CSV first",
    b"\x89HDF": "an HDF5 file; write the column as CSV first",
    b"\x93NUMPY": "a NumPy array; write it as CSV first",
    b"%PDF": "a PDF document; expected a CSV file",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself; run: git lfs pull",
}
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WORDS = {"gb18030": "GB18030 (Chinese, with GBK and GB2312)", "cp1252": "Windows-1252 (with Latin-1)"}


def load(file: str) -> bytes:
    """The file's bytes, unpacked; ``-`` is standard input.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if file == "-":
            data = sys.stdin.buffer.read(LARGEST + 1)
        elif Path(file).is_dir():
            raise UsageError(f"{file}: expected a CSV file, got a folder")
        else:
            with open(file, "rb") as stream:
                data = stream.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from None
    if len(data) > LARGEST:
        raise UsageError(f"{file}: expected at most 1 GiB, got more; keep the newest rows, as tail does")
    return unpack(file, data)


def unpack(file: str, data: bytes, most: int = LARGEST) -> bytes:
    """A file's content, unpacked if it is packed, to at most so many bytes.

    Raises:
        UsageError: it is damaged or too large.
    """
    for mark, opened in PACKED.items():
        if data.startswith(mark):
            try:
                with opened(io.BytesIO(data)) as stream:
                    data = stream.read(most + 1)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise UsageError(f"{file}: cannot be unpacked, it is cut off or damaged: {error}") from None
            if len(data) > most:
                raise UsageError(
                    f"{file}: expected at most {most >> 20} MiB when unpacked, got more; keep the newest rows"
                )
    return data


def decode(file: str, data: bytes, encoding: str | None) -> tuple[str, str]:
    """The text, and a note on its encoding if that was guessed.

    Raises:
        UsageError: it is no text, has another format, which the sentence names, or is not in the given encoding.
    """
    for mark, word in FOREIGN.items():
        if data.startswith(mark):
            raise UsageError(f"{file}: is {word}")
    chosen = encoding or _marked(data) or _without_mark(data)
    try:
        text = data.decode(chosen).removeprefix("\ufeff")
    except LookupError:
        raise UsageError(
            f"--encoding: expected a name such as utf-8, gb18030, cp1252 or utf-16, got {chosen!r}"
        ) from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{file}: line {line} is not in {chosen}; --encoding names another") from None
    if "\0" in text:
        raise UsageError(f"{file}: expected a text file, got binary data")
    if re.match(r"\s*(<!doctype|<html|<\?xml)", text, re.IGNORECASE):
        raise UsageError(f"{file}: is a page of HTML or XML; expected a CSV file")
    if re.match(r"\s*(\{|\[\s*[\[{])", text):
        raise UsageError(f"{file}: is JSON; expected a CSV file")
    found = "" if encoding or chosen in ("utf-8", "utf-8-sig") else WORDS.get(chosen, chosen.upper())
    return text, f"read as {found}; --encoding names another" if found else ""


def _marked(data: bytes) -> str | None:
    return next((name for mark, name in MARKS.items() if data.startswith(mark)), None)


def _without_mark(data: bytes) -> str:
    start = data[:1000]
    # Digits and separators are ASCII: in UTF-16 every second byte is 0.
    if start.count(0) > len(start) // 4:
        return "utf-16-le" if start[1::2].count(0) > start[0::2].count(0) else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "gb18030" if _looks_chinese(data) else "cp1252" if _fits(data, "cp1252") else "latin-1"
    return "utf-8"


def _looks_chinese(data: bytes) -> bool:
    """In Chinese text high bytes come in pairs; in Western text a single high byte stands between letters.

    Numbers and separators are the same bytes in both, so only names depend on this.
    """
    if not _fits(data, "gb18030"):
        return False
    runs = [(data[m.start() - 1 : m.start()], m.group()) for m in re.finditer(rb"[\x80-\xff]+", data)]
    pairs = sum(len(run) % 2 == 0 and (len(run) > 2 or not before.isalpha()) for before, run in runs)
    return pairs * 2 > len(runs)


def _fits(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
