#!/usr/bin/env python3
"""A profile of a Llama with random divergences, for tests of `shardbits policy`.

    random_profile.py LAYERS HIDDEN KV INTERMEDIATE PRECISION,... [SEED]
"""
import json
import random
import sys

layers, hidden, kv, intermediate = map(int, sys.argv[1:5])
precisions = sys.argv[5].split(",")
draw = random.Random(int(sys.argv[6]) if len(sys.argv) > 6 else 1)
KINDS = [("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv, hidden), ("self_attn.v_proj", kv, hidden),
         ("self_attn.o_proj", hidden, hidden), ("mlp.gate_proj", intermediate, hidden),
         ("mlp.up_proj", intermediate, hidden), ("mlp.down_proj", hidden, intermediate)]
GEMMS = ("fprop", "dgrad", "wgrad")


def metric(scale):
    parts = {g: {k: scale * draw.random() ** 4 for k in ("loss", "weight")} for g in GEMMS}
    parts["all"] = {k: sum(parts[g][k] for g in GEMMS) for k in ("loss", "weight")}
    return parts


def entry(precision):
    scale = 0.1 if "fp8" in precision else 1
    return {"abs_error": scale * draw.random(), "rel_error": scale * draw.random(), "exact": metric(scale),
            "norms": metric(scale)}


linears = [{"name": f"model.layers.{layer}.{name}", "layer": layer, "rows": rows, "cols": cols,
            "norms": {k: draw.random() for k in ("x", "w", "y", "dx", "dw", "dy")},
            "precisions": {p: entry(p) for p in precisions}}
           for layer in range(layers) for name, rows, cols in KINDS]
json.dump({"format": "shardbits-profile", "version": 1,
           "model": {"architecture": "LlamaForCausalLM", "layers": layers, "hidden": hidden,
                     "intermediate": intermediate, "vocab": 2048, "linears": len(linears)},
           "step": 2000, "loss": 3.1, "batch": 8, "seqlen": 256, "combine": "sum", "precisions": precisions,
           "linears": linears}, sys.stdout)
