#!/usr/bin/env python3
"""Write the golden files of tests/train/golden/: training runs by transformers and torch.optim.AdamW.

A run begins with a model of tests/golden/ or with data/demo-llama, in float32, and takes 100 steps.
Tokens are data/calib.bin modulo the vocabulary; sequence s of step t is window t * BATCH + s of the
file, beginning again at its end. AdamW decays matrices, embedding and head, not norms; the norm of
the gradient is clipped; the rate warms up, then follows a cosine. A folder gets
  expect.json          the numbers of the run; loss and gradient norm of every step
  weights.safetensors  float32, the weights after 20 steps: all of a tiny model; of the demo model
                       every 997th of each tensor, from 0 on
Needs requirements-golden.txt. The demo model takes a minute on two cores.
"""
import argparse
import json
import math
import os
import sys

try:
    import numpy as np
    import torch
    import transformers
    from safetensors.torch import save_file
except ImportError as e:
    if not {"-h", "--help"} & set(sys.argv):
        sys.exit("make_train_golden.py: %s (pip install -r tools/requirements-golden.txt)" % e)

STEPS, LOOKED_AT = 100, 20
COMMON = dict(beta1=0.9, beta2=0.95, eps=1e-8, decay=0.1, floor=0.1, warmup=10, clip=1.0)
# name: (folder of the model, changes to COMMON)
CASES = {
    "untied": ("tests/golden/f32-single", dict(rate=1e-3, batch=5, seqlen=32, stride=1)),
    "tied": ("tests/golden/gqa-tied", dict(rate=1e-3, batch=4, seqlen=32, stride=1)),
    "demo": ("data/demo-llama", dict(rate=3e-4, batch=8, seqlen=256, stride=997)),
}


def rate_of(c, step):
    if step < c["warmup"]:
        return c["rate"] * (step + 1) / c["warmup"]
    at = (step - c["warmup"]) / (STEPS - c["warmup"])
    return c["rate"] * (c["floor"] + (1 - c["floor"]) * 0.5 * (1 + math.cos(math.pi * at)))


def make_case(root, name):
    folder, changes = CASES[name]
    c = dict(COMMON, **changes)
    model = transformers.AutoModelForCausalLM.from_pretrained(os.path.join(root, folder), dtype=torch.float32,
                                                              attn_implementation="eager").train()
    ids = np.fromfile(os.path.join(root, "data/calib.bin"), dtype="<u2").astype(np.int64) % model.config.vocab_size
    windows = torch.from_numpy(ids[:len(ids) // c["seqlen"] * c["seqlen"]].reshape(-1, c["seqlen"]))
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": c["decay"]}, {"params": others, "weight_decay": 0.0}],
                                  lr=c["rate"], betas=(c["beta1"], c["beta2"]), eps=c["eps"])
    losses, norms = [], []
    out = os.path.join(root, "tests/train/golden", name)
    os.makedirs(out, exist_ok=True)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate_of(c, step)
        batch = windows[[(step * c["batch"] + s) % len(windows) for s in range(c["batch"])]]
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), c["clip"]).item())
        losses.append(loss.item())
        optimizer.step()
        if step + 1 == LOOKED_AT:
            save_file({n: p.detach().flatten()[::c["stride"]].clone() if c["stride"] > 1 else p.detach().clone()
                       for n, p in model.named_parameters()}, os.path.join(out, "weights.safetensors"))
    with open(os.path.join(out, "expect.json"), "w") as f:
        json.dump(dict(c, model=folder, steps=STEPS, looked_at=LOOKED_AT, torch=torch.__version__,
                       transformers=transformers.__version__, loss=losses, norm=norms), f, indent=1)
        f.write("\n")
    print("%s: loss %.4f .. %.4f, norm %.3f .. %.3f" % (name, losses[0], losses[-1], norms[0], norms[-1]))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("cases", nargs="*", default=list(CASES), help="default: %s" % " ".join(CASES))
    args = ap.parse_args()
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    torch.set_num_threads(2)
    for name in args.cases:
        make_case(root, name)


if __name__ == "__main__":
    main()
