#!/usr/bin/env python3
"""Turn the AdamW state of another trainer into optimizer.safetensors (train/optimizer_file.h), for
`shardbits profile --optimizer` and `shardbits train --optimizer`.

STATE is one of
  optimizer.pt        torch.optim.AdamW's state_dict(), as transformers' Trainer saves it
  a DCP folder        torch.distributed.checkpoint (.metadata and *.distcp): optimizer states by
                      name, with names of transformers, torchtitan (Llama) or Megatron Core
  model_optim_rng.pt  Megatron Core, TP 1, PP 1, no distributed optimizer

MODEL is the same model as a Hugging Face folder; its tensors say which names and shapes are due.
Rows of q and k of torchtitan are put into the order of transformers; fused matrices of Megatron are
split. Every tensor must be there in its shape, else nothing is written. The Megatron layouts follow
its sources and were not tried on a checkpoint of its own.

Needs torch, safetensors and transformers (requirements-golden.txt). Pickles are read without
running code (weights_only).
"""
import argparse
import collections
import json
import os
import re
import sys

PARTS = ("exp_avg", "exp_avg_sq", "master")


def die(text):
    sys.exit("convert_optimizer.py: " + text)


# ---- the model: names, shapes, and the order of its parameters ----

def model_tensors(folder):
    """{name: shape} of the folder's safetensors files."""
    from safetensors import safe_open
    found = {}
    for file in sorted(os.listdir(folder)):
        if file.endswith(".safetensors") and file != "optimizer.safetensors":
            with safe_open(os.path.join(folder, file), "pt") as f:
                for name in f.keys():
                    found[name] = tuple(f.get_slice(name).get_shape())
    return found or die(folder + ": has no safetensors files")


def parameters_in_order(folder):
    import torch
    import transformers
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    return [(name, tuple(p.shape)) for name, p in model.named_parameters()], config


# ---- torch.optim.AdamW ----

def by_number(state, shapes, what):
    """{name: state} of a state_dict whose parameters are numbered: group after group, in the order of the
    model's parameters; with several groups, matrices are one and vectors another."""
    groups = [[state["state"].get(i) for i in g["params"]] for g in state["param_groups"]]
    out = {}
    if len(groups) == 1:
        kinds = [shapes]
    else:
        kinds = []
        for group in groups:
            dims = {s["exp_avg"].dim() > 1 for s in group if s}
            if len(dims) != 1:
                die(what + ": a parameter group mixes matrices and vectors; which parameter is which is not known")
            matrices = dims.pop()
            kinds.append([(n, s) for n, s in shapes if (len(s) > 1) == matrices])
    for group, kind in zip(groups, kinds):
        if len(group) != len(kind):
            die("%s: a group has %d parameters, the model %d" % (what, len(group), len(kind)))
        for entry, (name, shape) in zip(group, kind):
            if entry is None:
                die("%s: has no state of %s" % (what, name))
            if tuple(entry["exp_avg"].shape) != shape:
                die("%s: parameter %s has the shape %s in the model, %s in the state"
                    % (what, name, list(shape), list(entry["exp_avg"].shape)))
            out[name] = dict(entry)
    return out


def hyper_of(groups):
    first = groups[0]
    return {"rate": first.get("lr"), "beta1": first["betas"][0], "beta2": first["betas"][1], "eps": first["eps"],
            "weight_decay": max(g.get("weight_decay", 0.0) for g in groups)}


def steps_of(states, groups):
    steps = {int(s["step"]) for s in states if "step" in s} | {int(g["step"]) for g in groups if "step" in g}
    return steps.pop() if len(steps) == 1 else None


def read_torch(state, folder, what):
    shapes, _ = parameters_in_order(folder)
    states = by_number(state, shapes, what)
    tensors = {name + "." + part: s[part] for name, s in states.items() for part in PARTS[:2]}
    return tensors, hyper_of(state["param_groups"]), steps_of(states.values(), state["param_groups"])


# ---- names and layouts of other trainers ----

TITAN = {"tok_embeddings.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight",
         "output.weight": "lm_head.weight"}
TITAN_LAYER = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj",
               "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
               "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm",
               "ffn_norm": "post_attention_layernorm"}


def rows_in_halves(t, heads):
    """Rows of q and k: pairs that RoPE turns lie beside each other there, half a head apart in transformers."""
    rest = t.shape[1:]
    return t.reshape(heads, t.shape[0] // heads // 2, 2, *rest).transpose(1, 2).reshape(t.shape)


def from_titan(name, t, config):
    """[(name, tensor)] of transformers, or []."""
    if name in TITAN:
        return [(TITAN[name], t)]
    m = re.fullmatch(r"layers\.(\d+)\.(.+)\.weight", name)
    if not m or m[2] not in TITAN_LAYER:
        return []
    if m[2] == "attention.wq":
        t = rows_in_halves(t, config.num_attention_heads)
    if m[2] == "attention.wk":
        t = rows_in_halves(t, config.num_key_value_heads)
    return [("model.layers.%s.%s.weight" % (m[1], TITAN_LAYER[m[2]]), t)]


MEGATRON = {"embedding.word_embeddings.weight": "model.embed_tokens.weight",
            "decoder.final_layernorm.weight": "model.norm.weight", "output_layer.weight": "lm_head.weight"}
MEGATRON_LAYER = {"self_attention.linear_proj.weight": "self_attn.o_proj", "mlp.linear_fc2.weight": "mlp.down_proj",
                  "self_attention.linear_qkv.layer_norm_weight": "input_layernorm", "input_layernorm.weight": "input_layernorm",
                  "mlp.linear_fc1.layer_norm_weight": "post_attention_layernorm",
                  "pre_mlp_layernorm.weight": "post_attention_layernorm"}


def megatron_layer(layer, rest, t, config):
    at = "model.layers.%d." % layer
    if rest == "self_attention.linear_qkv.weight":  # a group: its queries, then its k and its v
        groups, size = config.num_key_value_heads, getattr(config, "head_dim", None) or \
            config.hidden_size // config.num_attention_heads
        t = t.reshape(groups, -1, size, t.shape[-1])
        parts = {"q_proj": t[:, :-2], "k_proj": t[:, -2:-1], "v_proj": t[:, -1:]}
        return [(at + "self_attn.%s.weight" % k, v.reshape(-1, t.shape[-1])) for k, v in parts.items()]
    if rest == "mlp.linear_fc1.weight":  # gate, then up
        gate, up = t.chunk(2, 0)
        return [(at + "mlp.gate_proj.weight", gate), (at + "mlp.up_proj.weight", up)]
    return [(at + MEGATRON_LAYER[rest] + ".weight", t)] if rest in MEGATRON_LAYER else []


def from_megatron(name, t, config):
    if name in MEGATRON:
        return [(MEGATRON[name], t)]
    m = re.fullmatch(r"decoder\.layers\.(\d+\.)?(.+)", name)
    if not m:
        return []
    if m[1]:
        return megatron_layer(int(m[1][:-1]), m[2], t, config)
    return [pair for i in range(t.shape[0]) for pair in megatron_layer(i, m[2], t[i], config)]  # layers stacked


def to_transformers(name, t, expected, config):
    name = re.sub(r"^(module\.|_orig_mod\.|_fsdp_wrapped_module\.)+", "", name)
    if name in expected:
        return [(name, t)]
    return from_titan(name, t, config) or from_megatron(name, t, config)


# ---- DCP and Megatron ----

def load_dcp(folder):
    """{dotted key: value} of all that a DCP folder holds."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict
    nested = {}
    _load_state_dict(nested, storage_reader=dcp.FileSystemReader(folder), planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    flat = {}

    def walk(prefix, value):
        if isinstance(value, dict):
            for k, v in value.items():
                walk(prefix + "." + str(k) if prefix else str(k), v)
        elif isinstance(value, (list, tuple)):
            for i, v in enumerate(value):
                walk("%s.%d" % (prefix, i), v)
        else:
            flat[prefix] = value
    walk("", nested)
    return flat


def read_dcp(folder, model_folder, expected):
    _, config = parameters_in_order(model_folder)
    tensors, steps, numbers = {}, set(), collections.defaultdict(set)
    for key, value in load_dcp(folder).items():
        by_name = re.fullmatch(r"(?:.*?\.)?state\.(.+)\.(exp_avg|exp_avg_sq|step)", key)
        by_part = re.fullmatch(r"(?:.*?\.)?state\.(exp_avg|exp_avg_sq|fp32_param)\.(.+)", key)
        group = re.fullmatch(r"(?:.*?\.)?param_groups\..*\b(lr|eps|weight_decay|betas\.0|betas\.1|step)", key)
        if by_part:
            part = by_part[1].replace("fp32_param", "master")
            for name, t in to_transformers(by_part[2], value, expected, config):
                tensors[name + "." + part] = t
        elif by_name and by_name[2] == "step":
            steps.add(int(value))
        elif by_name:
            for name, t in to_transformers(by_name[1], value, expected, config):
                tensors[name + "." + by_name[2]] = t
        elif group and group[1] == "step":
            steps.add(int(value))
        elif group:
            numbers[group[1]].add(float(value))
    if not tensors:
        die(folder + ": has no optimizer state by name (state.NAME.exp_avg)")
    hyper = {to: max(numbers[key]) for key, to in (("lr", "rate"), ("betas.0", "beta1"), ("betas.1", "beta2"), ("eps", "eps"),
                                                   ("weight_decay", "weight_decay")) if numbers[key]}
    return tensors, hyper, steps.pop() if len(steps) == 1 else None


def read_megatron(state, model_folder, expected, what):
    _, config = parameters_in_order(model_folder)
    outer = state["optimizer"]
    inner = outer.get("optimizer", outer)
    if "state" not in inner:
        die(what + ": is of a distributed optimizer; save it without one, or as torch_dist")
    shapes = [(n, tuple(t.shape)) for n, t in state["model"].items() if hasattr(t, "shape") and not n.endswith("_extra_state")]
    states = by_number(inner, shapes, what)
    masters = outer.get("fp32_from_fp16_params")
    if masters:
        numbered = {"state": {}, "param_groups": inner["param_groups"]}
        for group, values in zip(inner["param_groups"], masters):
            numbered["state"].update({i: {"exp_avg": v} for i, v in zip(group["params"], values)})
        for name, s in by_number(numbered, shapes, what).items():
            states[name]["master"] = s["exp_avg"]
    tensors = {}
    for name, s in states.items():
        for part in PARTS:
            for to, t in to_transformers(name, s[part], expected, config) if part in s else []:
                tensors[to + "." + part] = t
    return tensors, hyper_of(inner["param_groups"]), steps_of(states.values(), inner["param_groups"])


def read(args, expected):
    import torch
    if os.path.isdir(args.state):
        return read_dcp(args.state, args.model, expected)
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(args.state, map_location="cpu", weights_only=True, mmap=True)
    if "param_groups" in state:
        return read_torch(state, args.model, args.state)
    if "optimizer" in state and "model" in state:
        return read_megatron(state, args.model, expected, args.state)
    die(args.state + ": is neither a state_dict of an optimizer nor a checkpoint of Megatron")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("state", metavar="STATE")
    ap.add_argument("model", metavar="MODEL")
    ap.add_argument("-o", "--output", required=True, help="file to write, MODEL/optimizer.safetensors for instance")
    ap.add_argument("--step", type=int, help="of the run; default: as the state says")
    ap.add_argument("--clip", type=float, default=0.0, help="gradient norm at which the run clips; default: never")
    ap.add_argument("--batch", type=int, default=0, help="sequences per step")
    ap.add_argument("--seqlen", type=int, default=0, help="tokens of a sequence")
    for name in ("rate", "beta1", "beta2", "eps", "weight_decay"):
        ap.add_argument("--" + name.replace("_", "-"), type=float, help="default: as the state says")
    args = ap.parse_args()
    import torch
    from safetensors.torch import save_file
    expected = model_tensors(args.model)
    tensors, hyper, updates = read(args, expected)
    for name in ("rate", "beta1", "beta2", "eps", "weight_decay"):
        if getattr(args, name) is not None:
            hyper[name] = getattr(args, name)
        if hyper.get(name) is None:
            die("%s: does not say its %s; give --%s" % (args.state, name, name.replace("_", "-")))
    if updates is None and args.step is None:
        die(args.state + ": does not say its step; give --step")
    updates = args.step if updates is None else updates
    step = updates if args.step is None else args.step
    out = {}
    parts = [p for p in PARTS if p != "master" or any(k.endswith(".master") for k in tensors)]
    for name, shape in expected.items():
        for part in parts:
            t = tensors.get(name + "." + part)
            if t is None:
                die("%s: has no %s of %s" % (args.state, part, name))
            if tuple(t.shape) != shape:
                die("%s: %s of %s has the shape %s, the model's is %s" % (args.state, part, name, list(t.shape), list(shape)))
            out[name + "." + part] = t.to(torch.float32).contiguous().clone()
    metadata = dict({k: repr(float(v)) for k, v in hyper.items()}, format="shardbits-optimizer", version="1",
                    optimizer="adamw", step=str(step), updates=str(updates), clip=repr(args.clip), batch=str(args.batch),
                    seqlen=str(args.seqlen))
    save_file(out, args.output, metadata=metadata)
    print(json.dumps({"output": args.output, "tensors": len(out), "step": step, "updates": updates, **hyper}))


if __name__ == "__main__":
    main()
