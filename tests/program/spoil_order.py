"""spoil_order.py FROM TO: a copy of an output folder whose first order of rows puts every channel into block 0, with all
checksums as they must be."""
import json
import os
import shutil
import struct
import sys

import xxhash
import zstandard

source, target = sys.argv[1:]
shutil.copytree(source, target)
with open(f"{target}/manifest.json") as f:
    manifest = json.load(f)
number = next(i for i, t in enumerate(manifest["tensors"]) if t["kind"] == "order" and t["name"].endswith(".rows"))
records = {}
for shard in manifest["shards"]:
    path = f"{target}/{shard['file']}"
    with open(path, "rb") as f:
        data = f.read()
    start, count, _, _ = struct.unpack_from("<QQQ8s", data, len(data) - 32)
    entries = [list(struct.unpack_from("<IIQQQQB7x", data, start + 48 * i)) for i in range(count)]
    out, offsets = bytearray(data[:32]), {}
    for i in sorted(range(count), key=lambda i: entries[i][2]):
        tensor, row, offset, size, raw = entries[i][:5]
        frame = data[offset : offset + size]
        if tensor == number:
            frame = zstandard.ZstdCompressor(level=1, write_content_size=True).compress(bytes(raw))
            entries[i][5] = xxhash.xxh64_intdigest(bytes(raw))
        entries[i][2:4] = len(out), len(frame)
        out += frame
        records[tensor, row] = entries[i][5]
    index = b"".join(struct.pack("<IIQQQQB7x", *e) for e in entries)
    checksum = xxhash.xxh64_intdigest(index)
    at = len(out) + 8
    out += struct.pack("<II", 0x184D2A51, len(index) + 32) + index + struct.pack("<QQQ8s", at, count, checksum, b"SBINDEX\n")
    with open(path, "wb") as f:
        f.write(out)
    shard["bytes"], shard["index_checksum"] = os.path.getsize(path), f"{checksum:016x}"
hashed = b"".join(struct.pack("<IIQ", *key, records[key]) for key in sorted(records))
manifest["content_hash"] = f"{xxhash.xxh64_intdigest(hashed):016x}"
manifest["totals"]["stored_bytes"] = sum(s["bytes"] for s in manifest["shards"])
with open(f"{target}/manifest.json", "w") as f:
    json.dump(manifest, f)
