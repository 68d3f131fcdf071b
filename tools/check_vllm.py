#!/usr/bin/env python3
"""Says whether vLLM takes a folder of `shardbits export --format compressed-tensors` or gptq, by what
its loaders (0.33) ask of config.json and of the tensors' shapes. vLLM itself is not needed.

    check_vllm.py FOLDER [--tensor-parallel N] [--sglang]

vLLM makes one module of q, k and v and one of gate and up. It takes one scheme for it and loads all by
it, so all must have one; the parts of a rank must hold whole groups and whole words of 32
bits. Scales are loaded in the type that config.json names. With --sglang the rules are those of SGLang (0.5.23),
which asks config.json for the fused names alone, and whose kernel (Marlin) takes fewer widths and
shapes. What is checked is written here after the loaders' own words, for models of Llama's layers.

Exit code 1 and one line for each breach.
"""
import argparse
import glob
import json
import os
import re
import struct
import sys
from fractions import Fraction

FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
ROW_PARALLEL = ("o_proj", "down_proj")  # cut along their columns; others along their rows
TYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
SIGNIFICANT = {"F16": 11, "BF16": 8, "F32": 24}
breaches = []


def headers(folder):
    """name -> (type, shape) of all safetensors; in several files, those that the index names."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with open(path, "rb") as f:
            (n,) = struct.unpack("<Q", f.read(8))
            header = json.loads(f.read(n))
        header.pop("__metadata__", None)
        for name, h in header.items():
            if name in found:
                breaches.append(f"{name}: is in two files")
            found[name] = (h["dtype"], h["shape"])
    index = os.path.join(folder, "model.safetensors.index.json")
    if len(glob.glob(os.path.join(folder, "*.safetensors"))) > 1:
        with open(index) as f:
            if set(json.load(f)["weight_map"]) != set(found):
                breaches.append("the index names other tensors than the files have")
    return found


def fused_name(members):
    return next(name for name, parts in FUSED.items() if parts == members)


def hits(name, target):
    return bool(re.match(target[3:], name)) if target.startswith("re:") else name == target


class CompressedTensors:
    def __init__(self, q):
        self.ignore = q["ignore"]
        self.targets = [(t, g["weights"], g.get("format") or q["format"]) for g in q["config_groups"].values() for t in g["targets"]]
        for g in q["config_groups"].values():
            w = g["weights"]
            if g.get("input_activations") or w["type"] != "int" or w.get("dynamic") or w.get("actorder"):
                breaches.append(f"a group of weights alone, of static integers, is expected: {g}")
            if w["num_bits"] not in range(2, 9):
                breaches.append(f"{w['num_bits']} bits, vLLM takes 2 to 8")

    def scheme(self, module):
        """(bits, columns of a group or None, zero points) of a module that is not fused; None: not quantized."""
        if any(hits(module, t) for t in self.ignore):
            return None
        for target, w, form in self.targets:
            if hits(module, target):
                if form != "pack-quantized":
                    breaches.append(f"{module}: format {form}")
                return w["num_bits"], w["group_size"] if w["strategy"] == "group" else None, not w["symmetric"]
        return None

    def of_fused(self, prefix, members, alone):
        """What a server takes for all of them: by the fused name, then, unless that is asked for alone, by the first."""
        return self.scheme(prefix + fused_name(members)) or (None if alone else self.scheme(prefix + members[0]))

    def expected(self, scheme, rows, cols, dtype):
        bits, group, zeros = scheme
        groups = cols // group if group else 1
        parts = {"weight_packed": ("I32", [rows, -(-cols * bits // 32)]), "weight_scale": (None, [rows, groups]),
                 "weight_shape": ("I64", [2])}
        if zeros:
            parts["weight_zero_point"] = ("I32", [-(-rows * bits // 32), groups])
        return parts


class Gptq:
    def __init__(self, q):
        self.q = q
        if q["desc_act"] or q["checkpoint_format"] != "gptq":
            breaches.append(f"vLLM reads gptq without desc_act, this is {q['checkpoint_format']}")

    def scheme(self, module):
        found = dict(self.q)
        for pattern, changes in self.q["dynamic"].items():
            if re.match(pattern.removeprefix("+:"), module):
                found.update(changes)
                break
        if (found["bits"], found["sym"]) not in ((4, True), (8, True)):
            breaches.append(f"{module}: {found['bits']} bits, symmetric: {found['sym']}; vLLM takes 4 and 8, symmetric")
        return found["bits"], None if found["group_size"] == -1 else found["group_size"], True

    def of_fused(self, prefix, members, alone):
        return self.scheme(prefix + fused_name(members))

    def expected(self, scheme, rows, cols, dtype):
        bits, group, _ = scheme
        groups = cols // group if group else 1
        return {"qweight": ("I32", [cols * bits // 32, rows]), "qzeros": ("I32", [groups, rows * bits // 32]),
                "scales": ("F16", [groups, rows]), "g_idx": ("I32", [cols])}


def check_module(reader, found, module, scheme, size, args, dtype):
    """The tensors of a module against what is allocated for its scheme."""
    rows, cols = size
    if scheme is None:
        if f"{module}.weight" not in found:
            breaches.append(f"{module}: is not quantized by config.json, and has no weight")
        return
    bits, group, zeros = scheme
    last = module.rpartition(".")[2]
    parts, whole = args.tensor_parallel, Fraction(32, bits)
    down, across = (1, parts) if last in ROW_PARALLEL else (parts, 1)
    if cols % across or rows % down:
        breaches.append(f"{module}: {rows}x{cols} is not cut into {parts} equal parts")
    elif group and (cols // across) % group:
        breaches.append(f"{module}: groups of {group} do not divide {cols // across} columns of a rank")
    elif across > 1 and (cols // across) % whole:
        breaches.append(f"{module}: {cols // across} columns of {bits} bits of a rank are no whole words")
    elif zeros and (rows // down) % whole and (last in sum(FUSED.values(), ()) or down > 1 or last == "lm_head"):
        breaches.append(f"{module}: {rows // down} zero points of {bits} bits are no whole words")
    for part, (kind, shape) in reader.expected(scheme, rows, cols, dtype).items():
        there = found.get(f"{module}.{part}")
        if there is None:
            breaches.append(f"{module}: has no {part}")
        elif there[1] != shape or (kind and there[0] != kind):
            breaches.append(f"{module}.{part}: is {there[0]} {there[1]}, for {bits} bits {kind or 'floats'} {shape} are loaded")
        elif part == "weight_scale" and SIGNIFICANT[there[0]] > SIGNIFICANT[dtype]:
            breaches.append(f"{module}: scales of {there[0]} lose bits in {dtype}, in which config.json says to compute")
    extra = [n for n in found if n.startswith(module + ".") and n[len(module) + 1:] not in reader.expected(scheme, rows, cols, dtype)]
    if extra:
        breaches.append(f"{module}: {extra[0]} has no place")


def check(folder, args):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    q, found = config["quantization_config"], headers(folder)
    reader = {"compressed-tensors": CompressedTensors, "gptq": Gptq}[q["quant_method"]](q)
    dtype = TYPES[config["dtype"]]
    hidden, heads, wide = config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // heads
    kv, vocab = config.get("num_key_value_heads") or heads, config["vocab_size"]
    sizes = {"q_proj": (heads * head, hidden), "k_proj": (kv * head, hidden), "v_proj": (kv * head, hidden),
             "o_proj": (hidden, heads * head), "gate_proj": (wide, hidden), "up_proj": (wide, hidden), "down_proj": (hidden, wide)}
    schemes = 0
    for layer in range(config["num_hidden_layers"]):
        for block, members in (("self_attn", FUSED["qkv_proj"]), ("self_attn", ("o_proj",)), ("mlp", FUSED["gate_up_proj"]), ("mlp", ("down_proj",))):
            prefix = f"model.layers.{layer}.{block}."
            scheme = reader.of_fused(prefix, members, args.sglang) if len(members) > 1 else reader.scheme(prefix + members[0])
            own = {m: reader.scheme(prefix + m) for m in members}
            if len(set(own.values()) | {scheme}) > 1:
                breaches.append(f"{prefix}{{{','.join(members)}}}: servers make one module of them, with one scheme; here "
                                + ", ".join(f"{m} {s[0] if s else 16} bits" for m, s in {**own, "all": scheme}.items()))
                continue
            if args.sglang:
                check_marlin(prefix, members, scheme, [sizes[m] for m in members], args.tensor_parallel, isinstance(reader, CompressedTensors))
            for m in members:
                check_module(reader, found, prefix + m, scheme, sizes[m], args, dtype)
            schemes += scheme is not None
    check_tables(config, reader, found, (vocab, hidden), args, dtype)
    return schemes


def check_marlin(prefix, members, scheme, sizes, parts, compressed):
    """SGLang's kernel."""
    bits, group, zeros = scheme or (16, None, False)
    cut = members[0] in ROW_PARALLEL
    rows, cols = sum(n for n, _ in sizes) // (1 if cut else parts), sizes[0][1] // (parts if cut else 1)
    name = prefix + ",".join(members)
    if bits not in (4, 8) or group not in (None, 32, 64, 128):
        breaches.append(f"{name}: {bits} bits in groups of {group}, SGLang takes 4 and 8 in groups of 32, 64, 128 or a row")
    elif zeros and compressed and bits == 8:
        breaches.append(f"{name}: zero points of 8 bits, SGLang's kernel has those of 4")
    elif cols % 128 or rows % 64:
        breaches.append(f"{name}: {rows}x{cols} of a rank, its kernel is written for rows in 64s and columns in 128s")


def check_tables(config, reader, found, size, args, dtype):
    compressed, tied = isinstance(reader, CompressedTensors), config.get("tie_word_embeddings")
    embedding = reader.scheme("model.embed_tokens") if compressed else None
    if embedding:
        if args.sglang:
            breaches.append("model.embed_tokens: SGLang takes no codes of an embedding")
        if tied or embedding[2] or embedding[0] not in (2, 4, 8):
            breaches.append("model.embed_tokens: vLLM takes codes of 2, 4 and 8 bits without zero points, of a table that is not tied")
        del found["model.embed_tokens.weight_packed"]  # whose rows are its own cut
    elif "model.embed_tokens.weight" not in found:
        breaches.append("model.embed_tokens: has no weight")
    if not tied:
        quantized = compressed or reader.q["lm_head"]
        check_module(reader, found, "lm_head", reader.scheme("lm_head") if quantized else None, size, args, dtype)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--tensor-parallel", type=int, default=1, metavar="N", help="ranks that share a layer (1)")
    parser.add_argument("--sglang", action="store_true", help="by the rules of SGLang")
    args = parser.parse_args()
    schemes = check(args.folder, args)
    if breaches:
        print("\n".join(breaches[:20]))
        sys.exit(1)
    print(f"{'SGLang' if args.sglang else 'vLLM'} takes it: {schemes} quantized modules")


if __name__ == "__main__":
    main()
