"""large_vocabulary.py SOURCE EXPORTED: rows of an embedding at 8 bits in blocks of 128 columns, exported in bfloat16, against the source's,
in files of more than 4 GiB: at the ends, and around the bytes and elements whose numbers need 31 and 32 bits."""
import json
import struct
import sys

import numpy as np

NAME = "model.embed_tokens.weight"


class Table:
    def __init__(self, folder):
        self.file = open(f"{folder}/model.safetensors", "rb")
        (size,) = struct.unpack("<Q", self.file.read(8))
        entry = json.loads(self.file.read(size))[NAME]
        assert entry["dtype"] == "BF16"
        self.rows, self.cols = entry["shape"]
        self.begin = 8 + size + entry["data_offsets"][0]

    def row(self, i):
        self.file.seek(self.begin + 2 * i * self.cols)
        return (np.frombuffer(self.file.read(2 * self.cols), "<u2").astype(np.uint32) << 16).view(np.float32)


source, exported = Table(sys.argv[1]), Table(sys.argv[2])
assert (source.rows, source.cols) == (exported.rows, exported.cols)
assert 2 * source.rows * source.cols >= 2**32, "the test is too small"
rows = set(range(0, source.rows, 4099)) | {source.rows - 1}
for limit in (2**31, 2**32):
    for size in (1, 2):  # elements, bytes
        at = limit // size // source.cols
        rows |= {i for i in (at - 1, at, at + 1) if i < source.rows}
for i in sorted(rows):
    want, got = source.row(i).reshape(-1, 128), exported.row(i).reshape(-1, 128)
    step = (np.maximum(want.max(1), 0) - np.minimum(want.min(1), 0)) / 255
    # half a step, what fp16 scales of 255 steps add to it, and bfloat16's rounding
    bound = 0.75 * step + abs(want).max(1) / 256
    assert (abs(got - want).max(1) <= bound).all(), f"row {i} differs by {(abs(got - want).max(1) / step).max():.2f} steps"
print(f"{len(rows)} rows of {source.rows} x {source.cols} are within a step")
