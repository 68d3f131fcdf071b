"""Output folders of `shardbits quantize`: what is in them, and their tensors for NumPy."""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._native import ShardbitsError, check, fail, library

MANIFEST = "manifest.json"
NEWEST = 4  # version of the format
LEVELS = {"asymmetric": "grid", "symmetric": "symmetric-grid", "signed": "signed-grid", "by-width": "by-width-grid"}


def is_folder(path: Any) -> bool:
    """Whether `path` is a folder that quantize wrote."""
    try:
        return (Path(path) / MANIFEST).is_file()
    except (TypeError, OSError, ValueError):
        return False


def _as_f32(kind: str, raw: np.ndarray) -> np.ndarray:
    if kind == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return raw.view({"F32": "<f4", "F16": "<f2"}[kind]).astype(np.float32)


class Matrix:
    """A quantized matrix W [rows, cols], packed in memory.

    Rows and columns are in the source's order, whatever order they are stored in. `product` multiplies
    with it without decoding it as a whole; `numpy` decodes it."""

    def __init__(self, folder: Folder, name: str, number: int) -> None:
        entry = folder.entries[number]
        self.name, self.folder = name, folder
        self.shape: tuple[int, int] = tuple(entry["shape"])
        signs = int(entry["col_signs"], 16) if "col_signs" in entry else 0
        lib = library()
        self._handle = lib.shardbits_load(folder._handle, number, folder.codes_of(entry).encode(), signs)
        if not self._handle:
            fail()
        self._release = lib.shardbits_release
        self.row_order = folder.order(entry.get("row_order"), folder.block[0])
        self.col_order = folder.order(entry.get("col_order"), folder.block[1])

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._release(self._handle)
            self._handle = None

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights, scales and all."""
        return library().shardbits_packed_bytes(self._handle)

    @property
    def widths(self) -> np.ndarray:
        """The number of bits of each block, [block rows, block columns], in the stored order."""
        rows, cols = (-(-n // b) for n, b in zip(self.shape, self.folder.block))
        out = np.empty((rows, cols), np.uint8)
        library().shardbits_widths(self._handle, out.ctypes.data)
        return out

    def numpy(self) -> np.ndarray:
        """float32 [rows, cols]."""
        stored = np.empty(self.shape, np.float32)
        check(library().shardbits_unpack(self._handle, stored.ctypes.data))
        if self.row_order is not None:
            stored[self.row_order] = stored.copy()
        if self.col_order is not None:
            stored[:, self.col_order] = stored.copy()
        return stored

    def product(self, x: np.ndarray) -> np.ndarray:
        """x W' for x [.., cols]: float32 [.., rows], computed in float32."""
        x = np.asarray(x, np.float32)
        if x.shape[-1] != self.shape[1]:
            raise ValueError(f"{self.name} has {self.shape[1]} columns, and x {x.shape[-1]}")
        flat = x.reshape(-1, self.shape[1])
        if self.col_order is not None:
            flat = flat[:, self.col_order]
        flat = np.ascontiguousarray(flat)
        y = np.empty((len(flat), self.shape[0]), np.float32)
        if len(flat):
            check(library().shardbits_product(self._handle, y.ctypes.data, flat.ctypes.data, len(flat)))
        if self.row_order is not None:
            placed = np.empty_like(y)
            placed[:, self.row_order] = y
            y = placed
        return y.reshape(*x.shape[:-1], self.shape[0])

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The rows `ids` [..]: float32 [.., cols], decoded where they lie. For embeddings, which have no orders."""
        ids = np.ascontiguousarray(ids)
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < self.shape[0]:
            raise IndexError(f"{self.name} has the rows 0 to {self.shape[0] - 1}, not {ids.min()} to {ids.max()}")
        if self.row_order is not None or self.col_order is not None:
            raise ShardbitsError(f"{self.name} has an order of its own: take rows of numpy()")
        flat = ids.astype(np.uint32).reshape(-1)
        out = np.empty((len(flat), self.shape[1]), np.float32)
        check(library().shardbits_rows(self._handle, out.ctypes.data, flat.ctypes.data, len(flat)))
        return out.reshape(*ids.shape, self.shape[1])


class Folder(Mapping):
    """An output folder: a mapping from names of tensors to `Matrix` (quantized) or NumPy arrays (float32).

    A tensor is read when it is asked for; nothing is kept. `threads`: of products, 0 takes all cores."""

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        self.path = Path(path)
        self._handle = None
        with open(self.path / MANIFEST, encoding="utf-8") as f:
            manifest = json.load(f)
        if manifest.get("format") != "shardbits" or manifest.get("format_version", 0) > NEWEST:
            raise ShardbitsError(f"{self.path / MANIFEST}: not of shardbits, or of a version above {NEWEST}: update the package")
        self.manifest: dict[str, Any] = manifest
        self.config: dict[str, Any] = manifest["model"]["config"]
        self.block: tuple[int, int] = (manifest["blocks"]["rows"], manifest["blocks"]["cols"])
        self.entries: list[dict[str, Any]] = manifest["tensors"]
        self._numbers = {t["name"]: i for i, t in enumerate(self.entries) if t["kind"] != "order"}
        self._handle = library().shardbits_open(str(self.path).encode(), threads)
        if not self._handle:
            fail()
        self._close = library().shardbits_close

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._close(self._handle)
            self._handle = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, name: str) -> Matrix | np.ndarray:
        number = self._numbers[name]
        if self.entries[number]["kind"] == "quantized":
            return Matrix(self, name, number)
        return self._raw(number)

    def is_quantized(self, name: str) -> bool:
        return self.entries[self._numbers[name]]["kind"] == "quantized"

    def dense(self, name: str) -> np.ndarray:
        """A tensor as float32, decoded if it is quantized."""
        tensor = self[name]
        return tensor.numpy() if isinstance(tensor, Matrix) else tensor

    def codes_of(self, entry: dict[str, Any]) -> str:
        """The name of the kind of a quantized tensor's codes (docs/format.md)."""
        codes = entry.get("codes", self.manifest.get("codes"))
        if codes is None:
            codes = LEVELS[self.manifest["symmetry"]]
        scales = self.manifest.get("scales")
        if scales and codes.endswith("grid"):
            codes += "-" + scales
        return codes

    def order(self, number: int | None, side: int) -> np.ndarray | None:
        """order[i] = the place in the source of stored row or column i; `side`: of a block. The folder says which
        block each channel is in, by a string of bits; in a block channels are as in the source."""
        if number is None:
            return None
        channels = self.entries[number]["shape"][0]
        bits = (-(-channels // side) - 1).bit_length()
        flat = np.unpackbits(self._bytes(number), bitorder="little")[: channels * bits].reshape(channels, bits)
        return np.argsort(flat.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64)), kind="stable")

    def _bytes(self, number: int) -> np.ndarray:
        size = library().shardbits_tensor_bytes(self._handle, number)
        out = np.empty(max(size, 0), np.uint8)
        check(library().shardbits_read_tensor(self._handle, number, out.ctypes.data, out.nbytes))
        return out

    def _raw(self, number: int) -> np.ndarray:
        entry = self.entries[number]
        return _as_f32(entry["dtype"], self._bytes(number)).reshape(entry["shape"])


def load(path: str | Path, threads: int = 0) -> Folder:
    """Opens a folder that `shardbits quantize` wrote. `threads`: of products, 0 takes all cores.

    >>> folder = shardbits.load("out")
    >>> w = folder["model.layers.0.mlp.down_proj.weight"]   # a Matrix, packed
    >>> y = w.product(x)
    """
    return Folder(path, threads)
