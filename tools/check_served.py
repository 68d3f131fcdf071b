#!/usr/bin/env python3
"""Checks a folder that `shardbits export --format compressed-tensors`, gptq or mlx wrote: it stands for
the weights that the same model has when it is exported in float32, bit for bit (0 has no sign here).

    check_served.py SERVED HF [--real]

HF is a folder of `shardbits export --dtype f32` of the same output folder. SERVED is decoded here by
what its config.json says, written from the formats, not from this program's sources. Tensors that
are not quantized must be those of HF in the type of config.json. With --real the packages that the
formats come from decode SERVED too, and pack what they decoded again, to the same words:
compressed-tensors by its compressor, and without zero points transformers; GPTQModel by its kernel
for processors; mlx-lm by that for processors.

Exit code 1 and one line for each breach. Needs numpy only, with --real tools/requirements-served.txt, or
for mlx tools/requirements-mlx.txt.
"""
import argparse
import json
import os
import re
import sys

import numpy as np
from exl3_to_hf import read

PLANES = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}
failures = 0


def breach(text):
    global failures
    failures += 1
    print(text)


# ---------------------------------------------------------------- words of 32 bits


def dense(words, count, bits):
    """[.., count] numbers of [.., words]: a string of bits, lowest first."""
    flat = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")
    flat = flat[..., : count * bits].reshape(*words.shape[:-1], count, bits)
    return flat.astype(np.int32) @ (1 << np.arange(bits, dtype=np.int32))


def planes(words, count, bits):
    """The same where 32 numbers are whole parts of a word, the lowest bits first."""
    runs = np.ascontiguousarray(words).reshape(*words.shape[:-1], count // 32, bits)
    out, low, at = 0, 0, 0
    for part in PLANES[bits]:
        out = out + (dense(runs[..., at : at + part], 32, part) << low)
        low, at = low + part, at + part
    return out.reshape(*words.shape[:-1], count)


# ---------------------------------------------------------------- formats


def matches(name, target):
    return re.match(target[3:], name) is not None if target.startswith("re:") else name == target


class CompressedTensors:
    first, rest = "weight_packed", ("weight_scale", "weight_zero_point", "weight_shape")

    def __init__(self, config):
        self.groups = config["config_groups"].values()
        if config["format"] != "pack-quantized" or config["quantization_status"] != "compressed":
            breach("config.json: not pack-quantized and compressed")

    def scheme(self, module):
        found = [g["weights"] for g in self.groups if any(matches(module, t) for t in g["targets"])]
        if len(found) != 1:
            raise ValueError(f"{module}: {len(found)} groups of config.json have it")
        return found[0]

    def decode(self, module, t):
        s = self.scheme(module)
        bits, (rows, cols) = s["num_bits"], t["weight_shape"]
        groups = t["weight_scale"].shape[1]
        if (s["strategy"], s["group_size"]) != (("channel", None) if groups == 1 else ("group", cols // groups)):
            breach(f"{module}: {groups} scales a row, config.json says {s['strategy']} of {s['group_size']}")
        zeros = np.full((rows, groups), 1 << bits - 1)
        if not s["symmetric"]:
            zeros = dense(t["weight_zero_point"].T, rows, bits).T
        elif "weight_zero_point" in t:
            breach(f"{module}: zero points of a symmetric matrix")
        return dense(t["weight_packed"], cols, bits), t["weight_scale"], zeros


class Gptq:
    first, rest = "qweight", ("qzeros", "scales", "g_idx")

    def __init__(self, config):
        self.base, self.dynamic = config, config["dynamic"]
        self.unpack = planes if config["format"] == "gptq_p" else dense
        if config["desc_act"] or config["format"] != config["checkpoint_format"]:
            breach("config.json: desc_act, or two formats")

    def scheme(self, module):
        for pattern, changes in self.dynamic.items():
            if re.match(pattern[2:], module):
                return {**self.base, **changes}
        return self.base

    def decode(self, module, t):
        s = self.scheme(module)
        bits, cols, (groups, rows) = s["bits"], len(t["g_idx"]), t["scales"].shape
        size = cols if s["group_size"] == -1 else s["group_size"]
        if list(t["g_idx"]) != [c // size for c in range(cols)] or groups != -(-cols // size):
            breach(f"{module}: groups are not those of config.json, of {s['group_size']}")
        zeros = self.unpack(t["qzeros"], rows, bits) + (s["format"] == "gptq")
        if s["sym"] and not (zeros == 1 << bits - 1).all():
            breach(f"{module}: zero points of a symmetric matrix are not 2^(b - 1)")
        return self.unpack(t["qweight"].T, cols, bits), t["scales"].T, zeros.T


class Mlx:
    first, rest = "weight", ("scales", "biases")

    def __init__(self, config):
        self.config, self.dtype = config, None

    def scheme(self, module):
        return self.config[module]

    def decode(self, module, t):
        s, scales = self.scheme(module), t["scales"]
        (rows, words), groups = t["weight"].shape, scales.shape[1]
        cols = words * 32 // s["bits"]
        if groups * s["group_size"] != cols or s["mode"] != "affine":
            breach(f"{module}: {groups} scales a row of {cols}, config.json says groups of {s['group_size']}")
        zeros = np.rint(np.divide(-t["biases"], scales, out=np.zeros_like(scales), where=scales != 0)).astype(np.int32)
        if not (rounded(-zeros.astype(np.float32) * scales, self.dtype) == t["biases"]).all():
            breach(f"{module}: biases are not whole zero points times scales")
        return dense(t["weight"], cols, s["bits"]), scales, zeros


def as_f32(kind, data):
    return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else data.astype(np.float32)


def weights(codes, scales, zeros):
    """float32 [rows, cols]; a difference of whole numbers times a scale of 11 bits is exact."""
    rows, cols = codes.shape
    parts = codes.reshape(rows, scales.shape[1], -1) - zeros[:, :, None]
    return (parts.astype(np.float32) * scales[:, :, None]).reshape(rows, cols)


def modules_of(found, reader):
    """module -> its parts, in float where they are scales."""
    out = {}
    for name, (kind, data) in found.items():
        module, _, part = name.rpartition(".")
        if part in (reader.first, *reader.rest) and {f"{module}.{p}" for p in (reader.first, reader.rest[0])} <= set(found):
            out.setdefault(module, {})[part] = as_f32(kind, data) if "scale" in part or part == "biases" else data
    return out


def check(folder, hf, reader, dtype):
    found, want = read(folder), read(hf)
    reader.dtype = dtype
    modules = modules_of(found, reader)
    names = {f"{m}.weight" for m in modules} | {n for n in found if n.rpartition(".")[0] not in modules}
    if names != set(want):
        return breach(f"other tensors: {sorted(names ^ set(want))[:5]}")
    widths = set()
    for name, (_, data) in want.items():
        module = name.rpartition(".")[0]
        if module in modules:
            codes, scales, zeros = reader.decode(module, modules[module])
            widths.add(reader.scheme(module).get("bits", reader.scheme(module).get("num_bits")))
            if codes.shape != data.shape or not (weights(codes, scales, zeros) == data).all():
                breach(f"{name}: not the floats of {hf}")
        else:
            kind, got = found[name]
            if kind != dtype or not (as_f32(kind, got) == rounded(data, dtype)).all():
                breach(f"{name}: is {kind} and not what {hf} has, rounded to {dtype}")
    print(f"{len(modules)} matrices are equal, of {sorted(widths)} bits, {len(want) - len(modules)} other tensors")


def rounded(data, dtype):
    """float32 by way of a narrower type, to nearest, ties to even."""
    if dtype != "BF16":
        return data.astype({"F16": np.float16, "F32": np.float32}[dtype]).astype(np.float32)
    bits = data.view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint32) << 16).view(np.float32)


# ---------------------------------------------------------------- the packages themselves


def real_compressed_tensors(folder, hf, reader):
    import compressed_tensors
    import torch
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor as Packer
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
    from safetensors.torch import load_file

    with open(os.path.join(folder, "config.json")) as f:
        QuantizationConfig.model_validate(json.load(f)["quantization_config"])
    tensors, want = {}, {}
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            tensors.update(load_file(os.path.join(folder, name)))
    for name in os.listdir(hf):
        if name.endswith(".safetensors"):
            want.update(load_file(os.path.join(hf, name)))
    done = [n[: -len(".weight_packed")] for n in tensors if n.endswith(".weight_packed")]
    for module in done:
        scheme = QuantizationScheme(targets=["Linear"], weights=reader.scheme(module))
        parts = {p: tensors[f"{module}.{p}"] for p in (reader.first, *reader.rest) if f"{module}.{p}" in tensors}
        parts["weight_scale"] = parts["weight_scale"].float()
        opened = Packer.decompress(parts, scheme)
        if not torch.equal(opened["weight"], want[f"{module}.weight"]):
            breach(f"compressed-tensors: {module} is not the floats of {hf}")
        again = Packer.compress(opened, scheme)
        for part in ("weight_packed", "weight_zero_point", "weight_shape"):
            zero_scale = (parts["weight_scale"] == 0).any()  # whose codes no weight tells
            if part in parts and not (zero_scale and part == "weight_packed") and not torch.equal(again[part], parts[part]):
                breach(f"compressed-tensors: {module}.{part} is packed otherwise")
    print(f"compressed-tensors {compressed_tensors.__version__} read {len(done)} matrices")
    tables = [module for module in done if "layers" not in module]
    if not tables and all(reader.scheme(module)["symmetric"] for module in done):
        from transformers import AutoModelForCausalLM

        compare("transformers", hf, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), 1e-6)


def real_gptq(folder, hf, reader):
    import torch
    import gptqmodel
    from gptqmodel import BACKEND, GPTQModel

    served = GPTQModel.load(folder, backend=BACKEND.GPTQ_TORCH, device="cpu", dtype=torch.float16)
    compare(f"GPTQModel {gptqmodel.__version__}", hf, served.model.float(), 1e-3)


def real_mlx(folder, hf, reader):
    """mlx-lm's logits on a processor, against those of its own reading of the floats."""
    import mlx.core as mx
    import mlx_lm
    from mlx_lm.utils import load_model
    from pathlib import Path

    (served, _), (want, config) = load_model(Path(folder)), load_model(Path(hf))
    served.set_dtype(mx.float32)
    tokens = mx.array(np.random.default_rng(0).integers(0, config["vocab_size"], (2, 24)))
    a, b = np.array(served(tokens), np.float32), np.array(want(tokens), np.float32)
    error = np.abs(a - b).max() / np.abs(b).max()
    if not error <= 2e-3:  # biases and norms were rounded to the folder's type
        breach(f"mlx-lm: logits differ by {error:g} of the largest")
    print(f"mlx-lm {mlx_lm.__version__}: logits differ by {error:.1e} of the largest")


def compare(who, hf, served, tolerance):
    """Logits, computed in float32 on random tokens, against those of the floats. Embeddings of HF that are too small
    for the other folder's f16 were rounded, and GPTQModel rounds products of codes and scales to f16."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    want = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32)
    tokens = torch.randint(0, want.config.vocab_size, (2, 24))
    with torch.no_grad():
        want = want(tokens).logits
        error = ((served(tokens).logits - want).abs().max() / want.abs().max()).item()
    if not error <= tolerance:
        breach(f"{who}: logits differ by {error:g} of the largest")
    print(f"{who}: logits differ by {error:.1e} of the largest")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("served", help="folder of export --format compressed-tensors, gptq or mlx")
    parser.add_argument("hf", help="folder of export --dtype f32")
    parser.add_argument("--real", action="store_true", help="the formats' own packages read it too")
    args = parser.parse_args()
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling takes minutes
    with open(os.path.join(args.served, "config.json")) as f:
        config = json.load(f)
    quantization = config["quantization_config"]
    kinds = {"compressed-tensors": (CompressedTensors, real_compressed_tensors), "gptq": (Gptq, real_gptq),
             "affine": (Mlx, real_mlx)}
    reader, real = kinds[quantization.get("quant_method") or quantization["mode"]]
    reader = reader(quantization)
    check(args.served, args.hf, reader, {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[config["dtype"]])
    if args.real:
        real(args.served, args.hf, reader)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
