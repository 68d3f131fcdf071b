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


def eight_bits(numbers):
    """Whether fp16 numbers have at most 8 significant bits."""
    mantissa = np.frexp(np.abs(numbers.astype(np.float64)))[0] * 256
    return bool((mantissa == np.floor(mantissa)).all())


def scales_of_six_bits(codes, anchor):
    m = anchor % 4 + 1
    values = (1 + (codes % 2**m) / 2**m) * 2.0 ** (anchor // 4 - 24 + codes // 2**m)
    return np.where(codes == 0, 0, values).astype(np.float32)


def block_row(data, rows, cols, block_cols, symmetry, scales):
    """Blocks on grids."""
    blocks = -(-cols // block_cols)
    at = anchors = -(-blocks // 16) * 16
    at *= 2 if scales == "6bit" else 1
    out = np.empty((rows, cols), np.float32)
    for j in range(blocks):
        bits, width = data[j], min(block_cols, cols - j * block_cols)
        size = -(-rows * 6 // 8) if scales == "6bit" else 2 * rows
        if scales == "6bit":
            scale = scales_of_six_bits(numbers(data[at : at + size], rows, 6), data[anchors + j])
        else:
            scale = np.frombuffer(data, "<f2", rows, at).astype(np.float32)
        at += size
        base = np.zeros(rows, np.float32)
        halves = symmetry == "symmetric" or (symmetry == "by-width" and bits <= 2)
        if symmetry != "asymmetric":
            center = np.full(rows, (2**bits - 1) / 2 if halves else 2 ** (bits - 1), np.float32)
        elif bits == 1:
            center, base = np.full(rows, 0.5, np.float32), np.frombuffer(data, "<f2", rows, at).astype(np.float32)
            at += 2 * rows
        else:
            size = -(-rows * bits // 8)
            center = numbers(data[at : at + size], rows, bits)
            at += size
        assert scales != "bf16" or (eight_bits(scale) and eight_bits(base)), "scales of more than 8 bits"
        assert not (symmetry == "asymmetric" or halves) or (scale >= 0).all(), "a negative scale"
        size = -(-width * bits // 8)
        for r in range(rows):
            codes = numbers(data[at : at + size], width, bits)
            out[r, j * block_cols : j * block_cols + width] = (codes - center[r]).astype(np.float32) * scale[r] + base[r]
            at += size
    assert at == len(data), "bytes left over"
    return out


FACTORS = {  # by width: 1, 2, 3, 4 and more
    "trellis-12": (0x135F, 0x30E3, 0x184F, 0x10F7),
    "trellis-14": (0x1D13, 0x313F, 0x37A9, 0x3C53),
    "trellis-16": (0x8BB9, 0xBE29, 0x9EA5, 0x7779),
}
MIDDLES = """1 3 5 7 9 11 13 15 17 19 21 23 25 27 29 32 34 36 39 42 45 48 51 54 58 62 66 72 78 86 100 127"""
EDGES = """0 2 3 5 7 8 10 12 13 15 17 19 21 23 25 27 29 31 33 35 38 40 43 46 49 52 56 60 65 71 79 91 127"""


def trellis_numbers(tile, codes, width):
    """What the 256 states of a tile stand for."""
    s = np.arange(256)[:, None]
    if codes == "exl3":
        words = np.frombuffer(tile, "<u4")
        ring = (words[:, None] >> (31 - np.arange(32)) & 1).ravel().astype(np.uint64)
        taken = ring[((s + 1) * width - 16 + np.arange(16)) % ring.size]
        state = taken @ (1 << np.arange(15, -1, -1)).astype(np.uint64)
        product = state * 0x83DCD12D & 0xFFFFFFFF
        total = sum(product >> shift & 255 for shift in (0, 8, 16, 24)).astype(np.float64)
        return ((1774 * total - 905216) / 2**18).astype(np.float16).astype(np.float32)
    length = int(codes[-2:])
    ring = np.unpackbits(np.frombuffer(tile, np.uint8), bitorder="little").astype(np.int64)
    state = ring[(s * width + np.arange(length)) % ring.size] @ (1 << np.arange(length))
    z = (state & 255) | state >> 6 << 8 if length == 12 else state
    product = z * FACTORS[codes][min(width, 4) - 1] >> (2 if length == 16 else 0) & 0x3FFF
    i = (product >> 8) - np.where(product >> 8 >= 32, 64, 0)
    if width <= 3:
        middles = np.array([int(n) for n in MIDDLES.split()])
        return np.where(i >= 0, middles[i % 32], -middles[(-1 - i) % 32]).astype(np.float32)
    edges = np.array([int(n) for n in EDGES.split()])
    low, high = (np.sign(n) * edges[abs(n)] for n in (i, i + 1))
    return ((255 * low + (product & 255) * (high - low)) >> 5).astype(np.float32)


def turned(x):
    """The runs of every row, in float32."""
    x, at = x.copy(), 0
    while at < x.shape[1]:
        run = min(128, 1 << (x.shape[1] - at).bit_length() - 1)
        y, stride = x[:, at : at + run], 1
        while stride < run:
            pairs = y.reshape(len(x), -1, 2, stride)
            y = np.stack((pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]), 2).reshape(len(x), run)
            stride *= 2
        x[:, at : at + run] = y * np.float32(1 / np.sqrt(run))
        at += run
    return x


def column_signs(key, cols):
    with np.errstate(over="ignore"):
        x = np.uint64(key) + (np.arange(cols, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.where((x ^ x >> np.uint64(31)) & np.uint64(1), np.float32(-1), np.float32(1))


def trellis_row(data, rows, cols, block_cols, codes, key):
    blocks = -(-cols // block_cols)
    at = -(-blocks // 16) * 16
    scales = np.frombuffer(data, "<f2", blocks, at).astype(np.float32)
    at += -(-2 * blocks // 16) * 16
    factors = np.frombuffer(data, "<f2", rows, at).astype(np.float32)
    at += -(-2 * rows // 16) * 16
    s, out = np.arange(256), np.empty((rows, cols), np.float32)
    if codes == "exl3":
        lane, j = s // 8, s % 8
        height, width, r, c = 16, 16, lane // 4 + 8 * (j // 4), 2 * (lane % 4) + j % 2 + 8 * (j // 2 % 2)
    else:
        height, width, r, c = 64, 4, s // 2 % 64, s % 2 + 2 * (s // 128)
    for j in range(blocks):
        bits, n = data[j] & 15, min(block_cols, cols - j * block_cols)
        assert data[j] >> 4 == ("trellis-12", "trellis-14", "trellis-16", "exl3").index(codes) + 1
        block = np.empty((-(-rows // height) * height, -(-n // width) * width), np.float32)
        for left in range(0, n, width):
            for top in range(0, rows, height):
                block[top + r, left + c] = scales[j] * trellis_numbers(data[at : at + 32 * bits], codes, bits)
                at += 32 * bits
        out[:, j * block_cols : j * block_cols + n] = turned(turned(block[:rows, :n]).T).T
    assert at == len(data), "bytes left over"
    return out * factors[:, None] * column_signs(key, cols)


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
    codes = manifest.get("codes")
    symmetry, scales = manifest.get("symmetry", "asymmetric"), manifest.get("scales", "fp16")
    grid = {"asymmetric": "grid", "symmetric": "symmetric-grid", "signed": "signed-grid", "by-width": "by-width-grid"}[symmetry]
    folders = {folder: safetensors(folder) for folder in sys.argv[3:]}
    widths, orders, tables = set(), 0, 0
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
            sizes = [(d, min(rows, height - i * rows), t["shape"][1], cols) for i, d in enumerate(frames)]
            own = t.get("codes", codes)  # a table's are grids in a folder of trellis codes too
            assert own in (None, grid) or "codes" not in t
            grids = own in (None, grid)
            parts = [block_row(*s, symmetry, scales) if grids else trellis_row(*s, codes, int(t["col_signs"], 16)) for s in sizes]
            tables += "codes" in t
            weights = np.concatenate(parts)
            for axis, (key, block) in enumerate((("row_order", rows), ("col_order", cols))):
                if key in t:
                    order = manifest["tensors"][t[key]]
                    data = content[order["name"], 0]
                    place = np.argsort(source_channels(data, order["shape"][0], block))
                    weights = np.take(weights, place, axis)
            weights = weights.ravel()
            widths |= {b & 15 for d in frames for b in d[: -(-t["shape"][1] // cols)]}
        for folder, tensors in folders.items():
            dtype, data = tensors[t["name"]]
            want = {"F32": weights.tobytes(), "BF16": rounded(weights).tobytes()}[dtype]
            assert data == want, f"{folder}: {t['name']} differs"
    count = len(manifest["tensors"]) - orders
    assert all(len(tensors) == count for tensors in folders.values())
    assert manifest["format_version"] == (4 if symmetry in ("signed", "by-width") or scales == "6bit" else 3 if codes or tables else 2 if orders else 1)
    print(f"{count} tensors are equal, {orders} orders, {tables} tables; widths {sorted(widths)}")


main()
