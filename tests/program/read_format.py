"""read_format.py FORMAT.MD OUT EXPORTED ...: the weights of an output folder, decoded by the reader printed in the
document and by the document's own words about payloads, against exported safetensors. Float32 must be equal; bfloat16
must be the float32 value rounded to nearest even."""
import glob
import json
import re
import struct
import sys

import numpy as np


def document_reader(path):
    with open(path) as f:
        code = re.search(r"^```python\n(.*?)^```", f.read(), re.M | re.S).group(1)
    names = {"__name__": "reader"}
    exec(compile(code, path, "exec"), names)
    return names["read"]


def numbers(data, count, bits):
    """A bit string: `count` numbers of `bits` bits, lowest bit first."""
    flat = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * bits]
    return flat.reshape(count, bits).astype(np.int64) @ (1 << np.arange(bits))


def block_row(data, rows, cols, block_cols):
    """Asymmetric blocks."""
    blocks = -(-cols // block_cols)
    at = -(-blocks // 16) * 16
    out = np.empty((rows, cols), np.float32)
    for j in range(blocks):
        bits, width = data[j], min(block_cols, cols - j * block_cols)
        scale = np.frombuffer(data, "<f2", rows, at).astype(np.float32)
        at += 2 * rows
        if bits == 1:
            center, base = np.full(rows, 0.5, np.float32), np.frombuffer(data, "<f2", rows, at).astype(np.float32)
            at += 2 * rows
        else:
            size = -(-rows * bits // 8)
            center, base = numbers(data[at : at + size], rows, bits), np.zeros(rows, np.float32)
            at += size
        size = -(-width * bits // 8)
        for r in range(rows):
            codes = numbers(data[at : at + size], width, bits)
            out[r, j * block_cols : j * block_cols + width] = (codes - center[r]).astype(np.float32) * scale[r] + base[r]
            at += size
    assert at == len(data), "bytes left over"
    return out


def source_channels(data, count, block):
    """An order: which channel of the source is at each position."""
    blocks = -(-count // block)
    bits = (blocks - 1).bit_length()
    assert len(data) == -(-count * bits // 8)
    return np.argsort(numbers(data, count, bits), kind="stable")


def safetensors(folder):
    """{name: (dtype, bytes)}"""
    found = {}
    for path in glob.glob(f"{folder}/*.safetensors"):
        with open(path, "rb") as f:
            data = f.read()
        (n,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + n])
        header.pop("__metadata__", None)
        for name, t in header.items():
            begin, end = t["data_offsets"]
            assert name not in found, name
            found[name] = (t["dtype"], data[8 + n + begin : 8 + n + end])
    return found


def rounded(x):
    """float32 to bfloat16 bits, ties to even."""
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def main():
    content = document_reader(sys.argv[1])(sys.argv[2])
    with open(f"{sys.argv[2]}/manifest.json") as f:
        manifest = json.load(f)
    rows, cols = manifest["blocks"]["rows"], manifest["blocks"]["cols"]
    assert manifest["symmetry"] == "asymmetric"
    folders = {folder: safetensors(folder) for folder in sys.argv[3:]}
    widths, orders = set(), 0
    for t in manifest["tensors"]:
        frames = [content[t["name"], i] for i in range(t["frames"])]
        if t["kind"] == "order":
            orders += 1
            continue
        if t["kind"] == "raw":
            assert t["dtype"] == "BF16"
            weights = (np.frombuffer(b"".join(frames), "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            height = t["shape"][0]
            parts = [block_row(d, min(rows, height - i * rows), t["shape"][1], cols) for i, d in enumerate(frames)]
            weights = np.concatenate(parts)
            for axis, (key, block) in enumerate((("row_order", rows), ("col_order", cols))):
                if key in t:
                    order = manifest["tensors"][t[key]]
                    data = content[order["name"], 0]
                    place = np.argsort(source_channels(data, order["shape"][0], block))
                    weights = np.take(weights, place, axis)
            weights = weights.ravel()
            widths |= {b for d in frames for b in d[: -(-t["shape"][1] // cols)]}
        for folder, tensors in folders.items():
            dtype, data = tensors[t["name"]]
            want = {"F32": weights.tobytes(), "BF16": rounded(weights).tobytes()}[dtype]
            assert data == want, f"{folder}: {t['name']} differs"
    count = len(manifest["tensors"]) - orders
    assert all(len(tensors) == count for tensors in folders.values())
    assert manifest["format_version"] == (2 if orders else 1)
    print(f"{count} tensors are equal, {orders} orders; widths {sorted(widths)}")


main()
