"""set_widths.py ALLOCATION WIDTH ...: gives what a server makes one module of (q, k and v; gate and up) and every other matrix one
width, the next of those named, round and round. 34 is the blocks of a matrix by turns;
"each" before them gives every matrix its own."""
import json
import sys

path, widths = sys.argv[1], sys.argv[2:]
with open(path) as f:
    allocation = json.load(f)
each = "each" in widths
widths = [w for w in widths if w != "each"]
items = {}
for matrix in allocation["matrices"]:
    item = matrix["name"]
    for members, one in ((("q_proj", "k_proj", "v_proj"), "qkv"), (("gate_proj", "up_proj"), "gate_up")):
        for member in () if each else members:
            item = item.replace(member, one)
    width = items.setdefault(item, widths[len(items) % len(widths)])
    blocks = len(matrix["bits"])
    matrix["bits"] = (width * blocks)[:blocks]
with open(path, "w") as f:
    json.dump(allocation, f)
