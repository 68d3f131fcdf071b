#!/usr/bin/env python3
"""tools/convert_optimizer.py on states in every layout that it reads. The layouts are made here, row by row, from the moments of
a tiny model of tests/golden; what comes out must be those moments, bit for bit. Skipped (77) without torch and transformers."""
import argparse
import os
import subprocess
import sys
import tempfile
import warnings

try:
    import torch
    import torch.distributed.checkpoint as dcp
    import transformers
    from safetensors import safe_open
    from safetensors.torch import load_file
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)

root = sys.argv[1]
folder = os.path.join(root, "tests/golden/mha-untied" if len(sys.argv) < 3 else sys.argv[2])
warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.manual_seed(1)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
config = model.config
HYPER = dict(lr=2e-3, betas=(0.8, 0.97), eps=1e-7)
decayed = [p for p in model.parameters() if p.dim() > 1]
others = [p for p in model.parameters() if p.dim() == 1]
GROUPS = [{"params": decayed, "weight_decay": 0.25}, {"params": others, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(GROUPS, **HYPER)
for _ in range(3):
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
names = dict(model.named_parameters())
PARTS = ("exp_avg", "exp_avg_sq")
moments = {n + "." + part: optimizer.state[p][part] for n, p in names.items() for part in PARTS}
failures = 0


def check(what, state, *more, masters=False, refused=None):
    global failures
    with tempfile.TemporaryDirectory() as d:
        path, out = os.path.join(d, "state"), os.path.join(d, "optimizer.safetensors")
        if isinstance(state, dict) and state.pop("dcp", False):
            dcp.save(state, checkpoint_id=path, no_dist=True)
        else:
            torch.save(state, path)
        run = subprocess.run([sys.executable, os.path.join(root, "tools/convert_optimizer.py"), path, folder, "-o", out, *more],
                             capture_output=True, text=True, check=False)
        if refused:
            bad = run.returncode == 0 or refused not in run.stderr or os.path.exists(out)
        elif run.returncode:
            bad = True
        else:
            got = load_file(out)
            expected = dict(moments, **({n + ".master": p.data for n, p in names.items()} if masters else {}))
            bad = sorted(got) != sorted(expected) or any(not torch.equal(got[k], v) for k, v in expected.items())
            with safe_open(out, "pt") as f:
                said = f.metadata()
            numbers = {"rate": 2e-3, "beta1": 0.8, "beta2": 0.97, "eps": 1e-7, "weight_decay": 0.25}
            bad |= said["updates"] != "3" or any(float(said[k]) != v for k, v in numbers.items())
            bad |= said["format"] != "shardbits-optimizer" or said["clip"] != "1.5" or said["batch"] != "12"
        if bad:
            failures += 1
            print("FAILED:", what, run.stdout, run.stderr)


usual = ("--clip", "1.5", "--batch", "12", "--seqlen", "64")
check("torch, two groups", optimizer.state_dict(), *usual)
one = torch.optim.AdamW(model.parameters(), weight_decay=0.25, **HYPER)
one.state.update(optimizer.state)
check("torch, one group", one.state_dict(), *usual)
mixed = optimizer.state_dict()
mixed["param_groups"][0]["params"], mixed["param_groups"][1]["params"] = (mixed["param_groups"][0]["params"][:-1],
                                                                          mixed["param_groups"][1]["params"] + [0])
check("torch, odd groups", mixed, *usual, refused="mixes matrices and vectors")
check("no optimizer", {"a": torch.zeros(3)}, refused="neither a state_dict")
group = {"lr": 2e-3, "betas": [0.8, 0.97], "eps": 1e-7, "weight_decay": 0.25}
by_name = {n: dict(optimizer.state[p]) for n, p in names.items()}
check("DCP, names of transformers", {"dcp": True, "optimizer": {"state": by_name, "param_groups": [group]}}, *usual)
lacking = {n: s for n, s in by_name.items() if "layers.1.mlp.up_proj" not in n}
check("DCP, a tensor is missing", {"dcp": True, "optimizer": {"state": lacking, "param_groups": [group]}}, *usual,
      refused="has no exp_avg of model.layers.1.mlp.up_proj.weight")

# ---- torchtitan: rows that RoPE turns together are neighbours ----
TITAN = {"self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
         "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
         "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}
SIZE = config.hidden_size // config.num_attention_heads


def titan(name, t):
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "tok_embeddings.weight", "model.norm.weight": "norm.weight",
                "lm_head.weight": "output.weight"}[name], t
    _, _, layer, rest = name.split(".", 3)
    kind = rest[:-len(".weight")]
    if kind in ("self_attn.q_proj", "self_attn.k_proj"):
        rows = []
        for head in range(t.shape[0] // SIZE):
            for i in range(SIZE // 2):
                rows += [t[head * SIZE + i], t[head * SIZE + SIZE // 2 + i]]
        t = torch.stack(rows)
    return "layers.%s.%s.weight" % (layer, TITAN[kind]), t


flat = {}
for n, p in names.items():
    for part in PARTS:
        to, t = titan(n, optimizer.state[p][part])
        flat["optimizer.state.%s.%s" % (to, part)] = t.clone()
    flat["optimizer.state.%s.step" % to] = torch.tensor(3.0)
    flat.update({"optimizer.param_groups.%s.%s" % (to, k): v for k, v in
                 (("lr", 2e-3), ("eps", 1e-7), ("weight_decay", 0.25), ("betas.0", 0.8), ("betas.1", 0.97))})
check("DCP, torchtitan", dict(flat, dcp=True), *usual)


# ---- Megatron Core: q, k and v of a group together, gate above up ----
def megatron(of):
    """{name: tensor} of Megatron from a function of transformers' names."""
    out = {"embedding.word_embeddings.weight": of("model.embed_tokens.weight")}
    q_heads = config.num_attention_heads // config.num_key_value_heads
    for layer in range(config.num_hidden_layers):
        at, to = "model.layers.%d." % layer, "decoder.layers.%d." % layer
        out[to + "self_attention.linear_proj.weight"] = of(at + "self_attn.o_proj.weight")
        q, k, v = (of(at + "self_attn.%s_proj.weight" % x) for x in "qkv")
        rows = []
        for g in range(config.num_key_value_heads):
            rows += [q[g * q_heads * SIZE:(g + 1) * q_heads * SIZE], k[g * SIZE:(g + 1) * SIZE], v[g * SIZE:(g + 1) * SIZE]]
        out[to + "self_attention.linear_qkv.layer_norm_weight"] = of(at + "input_layernorm.weight")
        out[to + "self_attention.linear_qkv.weight"] = torch.cat(rows)
        out[to + "mlp.linear_fc1.layer_norm_weight"] = of(at + "post_attention_layernorm.weight")
        out[to + "mlp.linear_fc1.weight"] = torch.cat([of(at + "mlp.gate_proj.weight"), of(at + "mlp.up_proj.weight")])
        out[to + "mlp.linear_fc2.weight"] = of(at + "mlp.down_proj.weight")
    out["decoder.final_layernorm.weight"] = of("model.norm.weight")
    if "lm_head.weight" in names:
        out["output_layer.weight"] = of("lm_head.weight")
    return out


weights = megatron(lambda n: names[n].data)
parts = {part: megatron(lambda n, part=part: optimizer.state[names[n]][part]) for part in PARTS}
order = [[n for n, t in weights.items() if (t.dim() > 1) == matrices] for matrices in (True, False)]
number = {n: i for i, n in enumerate(order[0] + order[1])}
state = {"args": argparse.Namespace(lr=1), "model": dict(weights, **{"decoder.layers.0._extra_state": None}),
         "optimizer": {"optimizer": {"state": {number[n]: {part: parts[part][n] for part in PARTS} for n in weights},
                                     "param_groups": [dict(group, params=[number[n] for n in o], step=3,
                                                           weight_decay=0.25 if i == 0 else 0.0) for i, o in enumerate(order)]},
                       "fp32_from_fp16_params": [[weights[n] for n in o] for o in order]}}
check("Megatron, model_optim_rng.pt", state, *usual, masters=True)
stacked = {}
for part, tensors in (("exp_avg", parts["exp_avg"]), ("exp_avg_sq", parts["exp_avg_sq"]), ("fp32_param", weights)):
    for n, t in tensors.items():
        if n.startswith("decoder.layers.0."):
            key = n.replace("layers.0.", "layers.")
            stacked["optimizer.state.%s.%s" % (part, key)] = torch.stack(
                [tensors[n.replace("layers.0.", "layers.%d." % i)] for i in range(config.num_hidden_layers)])
        elif not n.startswith("decoder.layers."):
            stacked["optimizer.state.%s.%s" % (part, n)] = t.clone()
check("Megatron, torch_dist", dict(stacked, dcp=True), *usual, "--step", "3", "--rate", "2e-3", "--beta1", "0.8", "--beta2", "0.97",
      "--eps", "1e-7", "--weight-decay", "0.25", masters=True)
check("Megatron, torch_dist, no numbers", dict(stacked, dcp=True), "--step", "3", refused="does not say its rate; give --rate")
print("all as expected" if not failures else "%d failed" % failures)
sys.exit(failures != 0)
