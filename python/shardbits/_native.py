"""The library that reads shards and multiplies with packed weights (python/native/abi.h), by ctypes."""
from __future__ import annotations

import ctypes
import os
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

NAME = "libshardbits_native.so"


class ShardbitsError(RuntimeError):
    """What the library could not do: one line that names the file, the thing and the way out."""


def _find() -> str:
    asked = os.environ.get("SHARDBITS_LIBRARY")
    if asked:
        return asked
    beside = Path(__file__).parent / NAME
    if beside.is_file():
        return str(beside)
    raise ShardbitsError(f"{beside}: no such library; install the package with pip, or name one by SHARDBITS_LIBRARY")


def _declare(lib: ctypes.CDLL) -> ctypes.CDLL:
    signatures = {
        "version": (c_char_p, []),
        "error": (c_char_p, []),
        "open": (c_void_p, [c_char_p, c_int]),
        "close": (None, [c_void_p]),
        "frame_bytes": (c_int64, [c_void_p, c_uint32, c_uint32]),
        "tensor_bytes": (c_int64, [c_void_p, c_uint32]),
        "read_frame": (c_int, [c_void_p, c_uint32, c_uint32, c_void_p, c_size_t]),
        "read_tensor": (c_int, [c_void_p, c_uint32, c_void_p, c_size_t]),
        "load": (c_void_p, [c_void_p, c_uint32, c_char_p, c_uint64]),
        "release": (None, [c_void_p]),
        "packed_bytes": (c_size_t, [c_void_p]),
        "widths": (None, [c_void_p, c_void_p]),
        "unpack": (c_int, [c_void_p, c_void_p]),
        "product": (c_int, [c_void_p, c_void_p, c_void_p, c_size_t]),
        "rows": (c_int, [c_void_p, c_void_p, c_void_p, c_size_t]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, "shardbits_" + name)
        function.restype, function.argtypes = result, arguments
    return lib


_library: ctypes.CDLL | None = None


def library() -> ctypes.CDLL:
    """The library, loaded when it is first asked for."""
    global _library
    if _library is None:
        _library = _declare(ctypes.CDLL(_find()))
    return _library


def fail() -> None:
    raise ShardbitsError(library().shardbits_error().decode("utf-8", "replace"))


def check(status: int) -> None:
    if status != 0:
        fail()
