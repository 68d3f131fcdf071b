#!/usr/bin/env python3
"""Checks a folder that `shardbits export --format exl3` wrote: it holds what the same model exported in
float32 holds, and says so in its configuration.

    check_exl3.py EXL3 HF [--real]

HF is a folder of `shardbits export --dtype f32` of the same output folder, whose matrices were decoded by
the program; EXL3 is decoded by tools/exl3_to_hf.py. With --real exllamav3's own code reads EXL3 too:
its model of this architecture finds every layer, takes its tensors and makes weights of them. Its
extension for GPUs is not needed: what it computes, states and levels of tiles, comes from exl3_to_hf.py.

Exit code 1 and one line for each breach.
"""
import argparse
import json
import os
import sys
import types

import exl3_to_hf as exl3
import numpy as np

# Floats of the program are f32: 14 butterflies and three products, each to half an ulp, of numbers as
# large as the largest weight. Decoded here in double.
TOLERANCE = 20 * 2**-24
FP16 = 2**-10  # exllamav3 rounds to fp16 after each of the four steps
failures = 0


def breach(text):
    global failures
    failures += 1
    print(text)


def same(name, got, want, tolerance):
    if got.shape != want.shape:
        return breach(f"{name}: {got.shape}, not {want.shape}")
    error, most = np.abs(got - want).max(), np.abs(want).max()
    if not error <= tolerance * most:
        breach(f"{name}: differs by {error:g} of {most:g}")


def as_f32(kind, data):
    if kind == "BF16":
        return (data.astype(np.uint32) << 16).view(np.float32)
    return data.astype(np.float32)


def check_weights(folder, hf, config):
    want = exl3.read(hf)
    got = {name: as_f32(kind, data) for name, kind, data in exl3.decoded(exl3.read(folder), config)}
    if set(got) != set(want):
        return breach(f"other tensors: {sorted(set(got) ^ set(want))[:5]}")
    for name, (kind, data) in want.items():
        assert kind == "F32"
        same(name, got[name], data, TOLERANCE if f"{name}" in coded(folder) else 0)


def coded(folder, cache={}):
    if folder not in cache:
        cache[folder] = {f"{n[:-8]}.weight" for n in exl3.read(folder) if n.endswith(".trellis")}
    return cache[folder]


def check_config(folder, config):
    found = exl3.read(folder)
    q = config.get("quantization_config", {})
    codes = {n: t[1].shape for n, t in found.items() if n.endswith(".trellis")}
    weights = sum(a * b * 256 for a, b, _ in codes.values())
    bits = sum(a * b * 16 * c for a, b, c in codes.values()) / weights
    expected = {"quant_method": "exl3", "bits": round(bits, 2), "head_bits": 16, "codebook": "mul1", "out_scales": "always"}
    for key, value in expected.items():
        if q.get(key) != value:
            breach(f"config.json: {key} is {q.get(key)}, not {value}")
    with open(os.path.join(folder, "quantization_config.json")) as f:
        storage = json.load(f)["tensor_storage"]
    told = {n: (t["shape"], t["n_bytes"]) for m in storage.values() for n, t in m["stored_tensors"].items()}
    there = {n: (list(d.shape), d.nbytes) for n, (_, d) in found.items()}
    if told != there:
        breach(f"quantization_config.json: other tensors than there are: {sorted(set(told) ^ set(there))[:5]}")
    for name, shape in codes.items():
        module = name[: -len(".trellis")]
        kinds = {p: found.get(f"{module}.{p}", ("none",))[0] for p in ("trellis", "suh", "svh", "mul1")}
        if kinds != {"trellis": "I16", "suh": "F16", "svh": "F16", "mul1": "I32"}:
            breach(f"{module}: types {kinds}")
        elif found[f"{module}.mul1"][1].shape != () or int(found[f"{module}.mul1"][1]) & 0xFFFFFFFF != 0x83DCD12D:
            breach(f"{module}.mul1: {found[f'{module}.mul1'][1]}")
        s = storage[module]
        if (s.get("quant_format"), s.get("bits_per_weight"), s.get("mul1_multiplier")) != ("exl3", shape[2] // 16, 0x83DCD12D):
            breach(f"quantization_config.json: {module}: {s}")


# ------------------------------------------------------------ exllamav3's reader


class Extension(types.ModuleType):
    """In place of exllamav3_ext: tiles to numbers; the rest is not called by what is checked."""

    def reconstruct(self, out, trellis, width, mcg, mul1):
        import torch

        t = trellis.numpy()
        assert width == t.shape[2] // 16 and mul1 and not mcg
        tiles = np.empty(t.shape[:2] + (256,), np.float16)
        tiles[..., exl3.place()] = exl3.levels("mul1")[exl3.states(t)]
        tiles = tiles.reshape(*t.shape[:2], 16, 16).swapaxes(1, 2).reshape(out.shape)
        out.copy_(torch.from_numpy(np.ascontiguousarray(tiles)))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


def check_real(folder, hf):
    import torch

    module = types.ModuleType("exllamav3.ext")
    module.exllamav3_ext = Extension("exllamav3_ext")
    sys.modules["exllamav3.ext"] = module
    import exllamav3
    from exllamav3.modules import Linear

    config = exllamav3.Config.from_directory(folder, load_method="python")
    model, want, seen = exllamav3.Model.from_config(config), exl3.read(hf), set()
    for layer in model:
        if layer.modules or not isinstance(layer, Linear):
            continue
        layer.load(torch.device("cpu"))
        name = f"{layer.key}.weight"
        if f"{layer.key}.weight" in coded(folder):
            seen.add(name)
            if layer.quant_type != "exl3":
                breach(f"exllamav3: {layer.key} is {layer.quant_type}")
            same(f"exllamav3: {name}", layer.inner.get_weight_tensor().float().numpy().T, want[name][1], 8 * FP16)
        elif layer.quant_type != "fp16":
            breach(f"exllamav3: {layer.key} is {layer.quant_type}")
        layer.unload()
    if seen != coded(folder):
        breach(f"exllamav3: has no layer for {sorted(coded(folder) - seen)[:5]}")
    from exllamav3.version import __version__

    print(f"exllamav3 {__version__} read {len(seen)} matrices")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("exl3", help="folder of export --format exl3")
    parser.add_argument("hf", help="folder of export --dtype f32")
    parser.add_argument("--real", action="store_true", help="exllamav3's own code reads it too")
    args = parser.parse_args()
    with open(os.path.join(args.exl3, "config.json")) as f:
        config = json.load(f)
    check_config(args.exl3, config)
    check_weights(args.exl3, args.hf, config)
    if args.real:
        check_real(args.exl3, args.hf)
    if failures:
        sys.exit(1)
    print(f"{len(coded(args.exl3))} matrices are equal; widths {sorted({t[1].shape[2] // 16 for n, t in exl3.read(args.exl3).items() if n.endswith('.trellis')})}")


if __name__ == "__main__":
    main()
