"""A bundle on disk: manifest.json, ensemble.onnx, golden.npz, model_card.md. No torch here.

A graph beyond 2 GiB has its weights in a data file beside it, ensemble.onnx.data.

Its id is the SHA-256 of manifest.json, which holds the hash of every other file: two bundles with
the same id are the same to the last byte.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.onnx_data import NoGraphError, data_files
from models.spec import Manifest

MANIFEST, ONNX, GOLDEN, CARD = "manifest.json", "ensemble.onnx", "golden.npz", "model_card.md"
BUNDLED = Path(__file__).with_name("bundled") / "default"  # the bundle that ships


class BundleError(Exception):
    """The folder is not a bundle that can be served; the message says what is wrong with it."""


def first_fault(error: ValidationError, whole: str) -> str:
    """Where in a document its first fault lies (`whole`: in no field of it), and what it is."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"]) or whole
    return f"{where}: {fault['msg']}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose hashes were checked."""

    id: str  # first 16 hex digits of the manifest's SHA-256
    path: Path
    manifest: Manifest

    @property
    def onnx(self) -> Path:
        return self.path / ONNX

    @property
    def graph_sha256(self) -> str:
        """SHA-256 of the graph; of its hash and those of its data files where it has some."""
        files = self.manifest.files
        beside = sorted(name for name in files if name.startswith(f"{ONNX}."))
        if not beside:
            return files[ONNX]
        return hashlib.sha256("\n".join(files[name] for name in (ONNX, *beside)).encode()).hexdigest()

    def golden(self) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.float32]]:
        """Golden inputs (view name -> [G, H, W, 3]) and their fp32 logits [G, D]."""
        with np.load(self.path / GOLDEN, allow_pickle=False) as stored:
            views = {view.name: stored[view.name] for view in self.manifest.views}
            return views, stored["logits"]


def load_bundle(path: Path) -> Bundle:
    """Read a bundle and check every hash. Raises BundleError."""
    try:
        raw = (path / MANIFEST).read_bytes()
        manifest = Manifest.model_validate_json(raw)
    except OSError as error:
        raise BundleError(f"{path} is not a bundle: {error.strerror} ({MANIFEST})") from error
    except ValidationError as error:
        raise BundleError(f"{path / MANIFEST}: {first_fault(error, 'manifest')}") from error
    for name, expected in manifest.files.items():
        _check(path, name, expected)
    for needed in (ONNX, GOLDEN):
        if needed not in manifest.files:
            raise BundleError(f"{path / MANIFEST} does not list {needed}")
    _check_data(path, manifest)
    return Bundle(hashlib.sha256(raw).hexdigest()[:16], path, manifest)


def write_bundle(path: Path, manifest_fields: dict[str, Any]) -> Bundle:
    """Hash the files that lie in `path` already, write manifest.json beside them, and load it back.

    `manifest_fields` is everything of the manifest but `files`.
    """
    names = sorted(item.name for item in path.iterdir() if item.is_file() and item.name != MANIFEST)
    files = {name: sha256_of(path / name) for name in names}
    manifest = Manifest.model_validate({**manifest_fields, "files": files})
    text = manifest.model_dump_json(indent=2, by_alias=True)
    (path / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return load_bundle(path)


def _check(path: Path, name: str, expected: str) -> None:
    if Path(name).name != name:
        raise BundleError(f"{path / MANIFEST} lists {name!r}, which is not a plain file name")
    try:
        actual = sha256_of(path / name)
    except OSError as error:
        raise BundleError(f"{path / name} is listed in the manifest: {error.strerror}") from error
    if actual != expected:
        raise BundleError(f"{path / name} was changed: its SHA-256 is {actual}, not {expected}")


def _check_data(path: Path, manifest: Manifest) -> None:
    """The weights of the graph are files of the bundle, so that their hashes were checked, and whole."""
    try:
        named = data_files(path / ONNX)
    except NoGraphError as error:
        raise BundleError(f"{path / ONNX} is no ONNX graph: export the bundle again") from error
    for name, size in named.items():
        if name not in manifest.files or not name.startswith(f"{ONNX}."):
            raise BundleError(
                f"{path / ONNX} has weights in {name!r}, which is no data file of the bundle: export it again"
            )
        if (path / name).stat().st_size < size:
            raise BundleError(f"{path / name} is cut short: the graph reads {size} bytes; export it again")


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
