#!/usr/bin/env python3
"""Time a model's forward and forward+backward passes in transformers on PyTorch, or training steps.

Prints one line of JSON: best seconds of both, over the repeats, for all
sequences one after another, as a calibration loop runs them.  Windows are
chosen as shardbits chooses them, spread evenly over the token file.
bench/compare_torch.sh runs it side by side with bench_model.  With --train it
times steps of torch.optim.AdamW on all weights, each on all sequences at once,
the norm clipped as in bench_train; seconds are of the median step.
"""
import argparse
import json
import os
import sys
import time


def train(args, torch, model, batch):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1)
    seconds = []
    for _ in range(args.train + 2):
        start = time.perf_counter()
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss = loss.item()
        seconds.append(time.perf_counter() - start)
    step = sorted(seconds[2:])[args.train // 2]
    print(json.dumps({"step": step, "tokens_per_second": batch.numel() / step, "loss": loss, "torch": torch.__version__}))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", help="Hugging Face folder")
    ap.add_argument("tokens", help="raw token ids")
    ap.add_argument("--token-dtype", choices=("u16", "u32"), default="u16")
    ap.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    ap.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    ap.add_argument("--seqs", type=int, default=8)
    ap.add_argument("--seqlen", type=int, default=512)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--repeats", type=int, default=2)
    ap.add_argument("--batch", type=int, default=1, help="sequences taken together")
    ap.add_argument("--train", type=int, metavar="STEPS", default=0)
    args = ap.parse_args()
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(args.threads)
    ids = torch.from_numpy(np.fromfile(args.tokens, dtype="<u2" if args.token_dtype == "u16" else "<u4").astype(np.int64))
    windows = len(ids) // args.seqlen
    if windows < args.seqs:
        sys.exit("bench_torch.py: %s has %d sequences of %d tokens" % (args.tokens, windows, args.seqlen))
    rows = [ids[i * args.seqlen:(i + 1) * args.seqlen] for i in (k * windows // args.seqs for k in range(args.seqs))]
    batches = [torch.stack(rows[k:k + args.batch]).to(args.device) for k in range(0, args.seqs, args.batch)]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).to(args.device)
    if args.train:
        return train(args, torch, model, torch.stack(rows).to(args.device))
    # shardbits needs gradients of the decoder layers' matrices only: no other gradient is asked of PyTorch either
    for name, p in model.named_parameters():
        p.requires_grad_(".layers." in name and "norm" not in name)

    def forward():
        with torch.no_grad():
            return sum(model(input_ids=b, labels=b, use_cache=False).loss.item() * len(b) for b in batches) / args.seqs

    def backward():
        total = 0.0
        for b in batches:
            loss = model(input_ids=b, labels=b, use_cache=False).loss
            loss.backward()
            total += loss.item() * len(b)
            model.zero_grad(set_to_none=True)
        return total / args.seqs

    best = {"forward": float("inf"), "gradient": float("inf")}
    loss = 0.0
    for _ in range(args.repeats):
        for name, call in (("forward", forward), ("gradient", backward)):
            start = time.perf_counter()
            loss = call()
            best[name] = min(best[name], time.perf_counter() - start)
    print(json.dumps({"forward": best["forward"], "gradient": best["gradient"], "loss": loss, "torch": torch.__version__}))


main()
