"""Widens the MLPs of a Llama folder of one safetensors file, in place, without changing what it computes: rows of zeros below
gate and up, columns of zeros beside down. widen_mlp.py FOLDER CHANNELS. Standard library only."""
import json
import os
import sys

import spoil_model


def main():
    folder, wide = sys.argv[1], int(sys.argv[2])
    path = os.path.join(folder, "model.safetensors")
    tensors = spoil_model.load(path)
    for name, t in tensors.items():
        size = spoil_model.SIZES[t[0]]
        if name.endswith(("gate_proj.weight", "up_proj.weight")):
            t[2] += bytes((wide - t[1][0]) * t[1][1] * size)
            t[1][0] = wide
        elif name.endswith("down_proj.weight"):
            row = t[1][1] * size
            t[2] = b"".join(t[2][i * row:(i + 1) * row] + bytes(wide * size - row) for i in range(t[1][0]))
            t[1][1] = wide
    spoil_model.save(path, tensors)
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    config["intermediate_size"] = wide
    json.dump(config, open(path, "w"))


main()
