#!/usr/bin/env python3
"""Turn a folder of EXL3 tensors (exllamav3) into an ordinary Hugging Face folder.

Every linear layer of the EXL3 folder becomes NAME.weight again, so that a model
that asks for a GPU can be measured without one (shardbits eval, transformers).
All three generators of levels are known, all widths of 1 to 8 bits, signs as bits
(su, sv) and as numbers (suh, svh). Zeros that EXL3 padded sides with are cut off
where config.json tells the size. Needs numpy only.

Written from the format, exllamav3 v1.4.1, not from this program's sources: its
tests hold `shardbits export --format exl3` against it. As a module:
matrix(tensors) decodes one linear layer.
"""
import argparse
import glob
import json
import os
import shutil
import struct
import sys

try:
    import numpy as np
except ImportError:
    np = None

PARTS = ("trellis", "suh", "svh", "su", "sv", "mcg", "mul1")
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I16": "<i2", "I32": "<i4", "U32": "<u4", "I64": "<i8"}


class Bad(Exception):
    pass


# ------------------------------------------------------------------ one matrix


def place():
    """Row-major place in its tile, 16 * in + out, of the s-th weight of the sequence."""
    s = np.arange(256)
    lane, j = s >> 3, s & 7
    return 16 * (2 * (lane & 3) + (j & 1) + 8 * (j >> 1 & 1)) + (lane >> 2) + 8 * (j >> 2)


def levels(marker):
    """fp16 [65536]: the number that each state stands for."""
    x = np.arange(1 << 16, dtype=np.uint64)
    if marker == "mul1":
        x = x * 0x83DCD12D & 0xFFFFFFFF
        total = sum((x >> 8 * i & 255).astype(np.int64) for i in range(4))
        one, factor, base = (np.array(h, np.uint16).view(np.float16).astype(np.float64)
                             for h in (0x3C00, 0x1EEE, 0xC931))
        # exact in double: 11 bits times 11 bits, so this rounds once
        return ((1024 * one + total) * factor + base).astype(np.float16)
    x = x * 0xCBAC1FED & 0xFFFFFFFF if marker == "mcg" else (x * 89226354 + 64248484) & 0xFFFFFFFF
    x = x & 0x8FFF8FFF ^ 0x3B603B60
    low, high = ((x >> at & 0xFFFF).astype(np.uint16).view(np.float16) for at in (0, 16))
    return (low.astype(np.float64) + high).astype(np.float16)


def states(tiles):
    """int [..., 256] of packed tiles, int16 [..., 16 K]."""
    if tiles.shape[-1] % 16 or not 1 <= tiles.shape[-1] // 16 <= 8:
        raise Bad(f"tiles of {tiles.shape[-1]} numbers, which is no whole width of 1 to 8 bits")
    width = tiles.shape[-1] // 16
    words = np.ascontiguousarray(tiles).view("<u4").astype(">u4")
    ring = np.unpackbits(words.view(np.uint8), axis=-1)
    end = (np.arange(256) + 1) * width
    state = np.zeros(tiles.shape[:-1] + (256,), np.int32)
    for i in range(16):
        state = state << 1 | ring[..., (end - 16 + i) % (256 * width)]
    return state


def hadamard(x, axis):
    """Sylvester's matrix of 128 over the root of 128, along runs of an axis."""
    h = np.ones((1, 1))
    while len(h) < 128:
        h = np.block([[h, h], [h, -h]])
    x = np.moveaxis(x, axis, -1)
    y = x.reshape(x.shape[:-1] + (-1, 128)) @ (h / np.sqrt(128))
    return np.moveaxis(y.reshape(x.shape), -1, axis)


def signs(bits, count):
    bits = np.unpackbits(bits.astype("<u2").view(np.uint8), bitorder="little")[:count]
    return 1.0 - 2.0 * bits


def matrix(t):
    """float64 [out, in], with what was padded, of one layer's tensors by their last names."""
    trellis = t["trellis"]
    if trellis.ndim != 3 or trellis.shape[0] % 8 or trellis.shape[1] % 8:
        raise Bad(f"a trellis of shape {trellis.shape}, not [in / 16, out / 16, 16 K] for sides in 128s")
    if "mcg" in t and "mul1" in t:
        raise Bad("two generators at once, mcg and mul1")
    table = levels("mcg" if "mcg" in t else "mul1" if "mul1" in t else None)
    down, across = trellis.shape[:2]
    inner = np.empty((down, across, 256))
    inner[..., place()] = table[states(trellis)]
    inner = inner.reshape(down, across, 16, 16).swapaxes(1, 2).reshape(16 * down, 16 * across)
    before = t["suh"].astype(np.float64) if "suh" in t else signs(t["su"], 16 * down)
    after = t["svh"].astype(np.float64) if "svh" in t else signs(t["sv"], 16 * across)
    if before.shape != (16 * down,) or after.shape != (16 * across,):
        raise Bad(f"vectors of {before.size} and {after.size} numbers beside a matrix of {16 * down} x {16 * across}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise Bad("vectors that are infinite or no number")
    return (before[:, None] * hadamard(hadamard(inner, 0), 1) * after).T


# ------------------------------------------------------------------ a folder


def read(folder):
    """name -> (type, array) of all safetensors files; BF16 stays 16 bits."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        data = np.memmap(path, np.uint8, "r")
        (n,) = struct.unpack("<Q", data[:8])
        header = json.loads(bytes(data[8 : 8 + n]))
        header.pop("__metadata__", None)
        for name, h in header.items():
            if h["dtype"] not in TYPES:
                raise Bad(f"{path}: {name} has the type {h['dtype']}")
            begin, end = h["data_offsets"]
            if name in found:
                raise Bad(f"{path}: {name} is there twice")
            found[name] = (h["dtype"], data[8 + n + begin : 8 + n + end].view(TYPES[h["dtype"]]).reshape(h["shape"]))
    if not found:
        raise Bad(f"{folder}: has no safetensors")
    return found


def sizes(config):
    """last name of a layer -> (out, in), without padding."""
    c = config.get("text_config", config)
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    head = c.get("head_dim") or hidden // heads
    kv, wide = (c.get("num_key_value_heads") or heads) * head, c["intermediate_size"]
    return {"q_proj": (heads * head, hidden), "k_proj": (kv, hidden), "v_proj": (kv, hidden), "o_proj": (hidden, heads * head),
            "gate_proj": (wide, hidden), "up_proj": (wide, hidden), "down_proj": (hidden, wide),
            "lm_head": (c["vocab_size"], hidden)}


def decoded(found, config):
    """Yields name, type and array of the ordinary tensors; decoded ones are float32."""
    true = sizes(config)
    for name, (dtype, data) in found.items():
        key, _, last = name.rpartition(".")
        if f"{key}.trellis" not in found or last not in PARTS:
            yield name, dtype, data
        elif last == "trellis":
            try:
                w = matrix({p: found[f"{key}.{p}"][1] for p in PARTS if f"{key}.{p}" in found})
            except (Bad, KeyError) as e:
                raise Bad(f"{key}: {e if isinstance(e, Bad) else 'has no ' + str(e)}") from None
            out, into = true.get(key.rpartition(".")[2], w.shape)
            yield f"{key}.weight", "F32", w[:out, :into].astype("<f4")


def rounded(x, dtype):
    """float32 in the type's bits, to nearest even."""
    if dtype != "BF16":
        return x.astype(TYPES[dtype])
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def convert(folder, out, dtype):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    found = read(folder)
    os.makedirs(out)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not name.endswith((".safetensors", ".index.json")) and name != "quantization_config.json":
            shutil.copy(path, out)
    config.pop("quantization_config", None)
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, kind, data in sorted_by_size(found, config, dtype):
        bytes_ = int(np.prod(data, dtype=np.int64)) * np.dtype(TYPES[kind]).itemsize
        header[name] = {"dtype": kind, "shape": list(data), "data_offsets": [at, at + bytes_]}
        at += bytes_
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(out, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)
        for name, kind, data in decoded(found, config):
            f.seek(8 + len(text) + header[name]["data_offsets"][0])
            kept = header[name]["dtype"]
            f.write(np.ascontiguousarray(data if kept == kind else rounded(data, kept)).tobytes())


def sorted_by_size(found, config, dtype):
    """Names, types and shapes of what will be written, the widest types first, so that all are aligned."""
    true, plan = sizes(config), []
    for name, (kind, data) in found.items():
        key, _, last = name.rpartition(".")
        if f"{key}.trellis" not in found or last not in PARTS:
            plan.append((name, kind, data.shape))
        elif last == "trellis":
            full = (16 * data.shape[1], 16 * data.shape[0])
            size = true.get(key.rpartition(".")[2], full)
            plan.append((f"{key}.weight", dtype, tuple(min(a, b) for a, b in zip(size, full))))
    return sorted(plan, key=lambda p: -np.dtype(TYPES[p[1]]).itemsize)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="of EXL3 tensors")
    parser.add_argument("out", help="folder to make")
    parser.add_argument("--dtype", choices=("bf16", "f16", "f32"), default="bf16", help="of decoded weights (bf16)")
    args = parser.parse_args()
    if np is None:
        sys.exit("exl3_to_hf.py: numpy is needed (pip install numpy)")
    try:
        convert(args.folder, args.out, args.dtype.upper())
    except (Bad, OSError, ValueError, KeyError) as e:
        sys.exit(f"exl3_to_hf.py: {e}")


if __name__ == "__main__":
    main()
