"""Write an image in OCI's layout: blobs named by their SHA-256, a configuration, a manifest and an index.

The same files give the same bytes: entries are sorted, dated by the caller, and belong to root or a named owner.
https://github.com/opencontainers/image-spec
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KIND = "application/vnd.oci.image"


@dataclass(frozen=True)
class Layer:
    """One layer: the hash and the size of its compressed blob, and the hash of what it unpacks to."""

    digest: str
    size: int
    diff_id: str


class Hashed(io.RawIOBase):
    """A writer that passes everything on and knows its hash."""

    def __init__(self, target: io.IOBase | gzip.GzipFile) -> None:
        self._target, self._hash = target, hashlib.sha256()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._target.write(data)
        return len(data)


def layer(root: Path, out: Path, date: int, owners: Mapping[str, int] | None = None) -> Layer:
    """Pack a folder as a layer.

    Args:
        date: of every file, in seconds since 1970.
        owners: user and group of what lies below a path; anything else belongs to root.
    """
    draft = out / "blobs" / "sha256" / "draft"
    draft.parent.mkdir(parents=True, exist_ok=True)
    with draft.open("wb") as file:
        packed = Hashed(file)
        with gzip.GzipFile("", "wb", 6, packed, mtime=0) as zipped:
            plain = Hashed(zipped)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for path in sorted(root.rglob("*")):
                    add(tar, path, path.relative_to(root).as_posix(), date, owners or {})
    size = draft.stat().st_size
    draft.rename(draft.with_name(packed.digest.partition(":")[2]))
    return Layer(packed.digest, size, plain.digest)


def add(tar: tarfile.TarFile, path: Path, name: str, date: int, owners: Mapping[str, int]) -> None:
    entry = tar.gettarinfo(path, name)
    entry.uid = entry.gid = next((owner for above, owner in owners.items() if Path(name).is_relative_to(above)), 0)
    entry.uname = entry.gname = ""
    entry.mtime = date
    if entry.isreg():
        with path.open("rb") as file:
            tar.addfile(entry, file)
    else:
        tar.addfile(entry)


def image(
    out: Path, layers: Sequence[Layer], how: object, architecture: str, date: int, annotations: Mapping[str, str]
) -> None:
    """Write configuration, manifest and index of an image whose layers are in ``out``.

    Args:
        how: OCI's "config": user, entry point, environment and so on.
        architecture: in Debian's words, which are Go's for amd64 and arm64.
    """
    created = datetime.datetime.fromtimestamp(date, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    configuration = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": how,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{KIND}.manifest.v1+json",
        "config": blob(out, f"{KIND}.config.v1+json", configuration),
        "layers": [
            {"mediaType": f"{KIND}.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size} for layer in layers
        ],
        "annotations": dict(annotations),
    }
    entry = blob(out, f"{KIND}.manifest.v1+json", manifest)
    entry["platform"] = {"architecture": architecture, "os": "linux"}
    entry["annotations"] = dict(annotations)
    index = {"schemaVersion": 2, "mediaType": f"{KIND}.index.v1+json", "manifests": [entry]}
    (out / "index.json").write_bytes(encoded(index))
    (out / "oci-layout").write_bytes(encoded({"imageLayoutVersion": "1.0.0"}))


def blob(out: Path, kind: str, content: object) -> dict[str, object]:
    """Write a JSON document as a blob and return its descriptor."""
    data = encoded(content)
    digest = hashlib.sha256(data).hexdigest()
    (out / "blobs" / "sha256" / digest).write_bytes(data)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}


def encoded(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, indent=2).encode() + b"\n"
