#!/usr/bin/env python3
"""Train the small demo Llama and write everything that goes with it.

TEXT files are the training text; the file given with --heldout is never
trained on.  Written into OUT:
  demo-llama/     config.json, model.safetensors (bfloat16), tokenizer.json
  calib.bin       tokens out of the training text   (raw little-endian uint16)
  heldout.bin     tokens of the held-out text       (raw little-endian uint16)
At the end the held-out perplexity is measured at full precision and after
rounding the decoder's linear layers to 4, 3 and 2 bits.  --eval-only DIR only
does that last step for a finished folder.

The run is seeded.  It ends after --steps steps or --minutes minutes, whichever
comes first; the learning rate follows the same clock, so a run that is cut
short by time still ends with a decayed rate (and then depends on the speed of
the machine, as does the last bit of every sum).
Needs torch, transformers, tokenizers, safetensors, numpy
(requirements-golden.txt).
"""
import argparse
import json
import math
import os
import sys
import time

GROUP = 128


def die(msg):
    sys.exit("train_demo.py: " + msg)


try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging
    logging.disable_progress_bar()
except ImportError as e:
    if not {"-h", "--help"} & set(sys.argv):
        die("%s (pip install -r tools/requirements-golden.txt)" % e)

EOT = "<|endoftext|>"


def parse_args():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("text", nargs="*", metavar="TEXT", help="training text files (UTF-8)")
    ap.add_argument("--heldout", help="held-out text file (UTF-8)")
    ap.add_argument("--out", default=".", help="output folder (default: here)")
    ap.add_argument("--eval-only", metavar="DIR", help="measure DIR/demo-llama on DIR/heldout.bin and stop")
    ap.add_argument("--vocab", type=int, default=2048)
    ap.add_argument("--hidden", type=int, default=256)
    ap.add_argument("--layers", type=int, default=5)
    ap.add_argument("--heads", type=int, default=8)
    ap.add_argument("--kv-heads", type=int, default=4)
    ap.add_argument("--inter", type=int, default=704)
    ap.add_argument("--seq", type=int, default=256)
    ap.add_argument("--batch", type=int, default=8)
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--steps", type=int, default=4000)
    ap.add_argument("--minutes", type=float, default=1e9)
    ap.add_argument("--calib-tokens", type=int, default=196608)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    if not args.eval_only and not (args.text and args.heldout):
        ap.error("give the training TEXT files and --heldout FILE (or --eval-only DIR)")
    return args


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except (OSError, UnicodeDecodeError) as e:
        die("cannot read %s: %s" % (path, getattr(e, "strerror", None) or e))


def train_tokenizer(texts, vocab):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[EOT], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tok


def encode(tok, texts):
    """All texts in one stream, each one followed by the end-of-text token."""
    ids = []
    for t in texts:
        ids += tok.encode(t).ids + [tok.token_to_id(EOT)]
    return np.array(ids, dtype="<u2")


@torch.no_grad() if "torch" in globals() else (lambda f: f)
def perplexity(model, ids, seq, tokens=10**9):
    """exp of the mean next-token NLL over non-overlapping windows of `seq`."""
    n = min(len(ids), tokens) // seq
    x = torch.from_numpy(ids[:n * seq].astype(np.int64)).view(n, seq)
    total = 0.0
    for i in range(0, n, 16):
        b = x[i:i + 16]
        logits = model(input_ids=b, use_cache=False).logits
        total += F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]).float(),
                                 b[:, 1:].reshape(-1), reduction="sum").item()
    return math.exp(total / (n * (seq - 1)))


def rtn(w, bits):
    """Asymmetric min/max round-to-nearest in groups along the input dimension;
    the last group of a row may be shorter."""
    out = w.clone()
    for c in range(0, w.shape[1], GROUP):
        g = w[:, c:c + GROUP]
        lo, hi = g.amin(1, keepdim=True), g.amax(1, keepdim=True)
        scale = ((hi - lo) / (2 ** bits - 1)).clamp_min(1e-12)
        out[:, c:c + GROUP] = ((g - lo) / scale).round() * scale + lo
    return out


def evaluate(out, seq):
    folder = os.path.join(out, "demo-llama")
    if not os.path.isfile(os.path.join(folder, "model.safetensors")):
        die("%s: no model.safetensors there" % folder)
    try:
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        ids = np.fromfile(os.path.join(out, "heldout.bin"), dtype="<u2")
    except (OSError, ValueError) as e:
        die("cannot evaluate %s: %s" % (out, str(e).splitlines()[0]))
    res = {"heldout_tokens": len(ids), "fp": perplexity(model, ids, seq)}
    layers = [m for m in model.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    keep = [m.weight.data.clone() for m in layers]
    for bits in (4, 3, 2):
        for m, w in zip(layers, keep):
            m.weight.data = rtn(w, bits)
        res["rtn%d" % bits] = perplexity(model, ids, seq)
    print(json.dumps(res), flush=True)


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    if args.eval_only:
        return evaluate(args.eval_only, args.seq)
    texts, held = [read(p) for p in args.text], read(args.heldout)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    folder = os.path.join(args.out, "demo-llama")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as e:
        die("%s: %s" % (folder, e.strerror))

    tok = train_tokenizer(texts, args.vocab)
    tok.save(os.path.join(folder, "tokenizer.json"))
    ids, held_ids = encode(tok, texts), encode(tok, [held])
    print("training tokens %d (%.2f characters each), held-out tokens %d" %
          (len(ids), sum(map(len, texts)) / len(ids), len(held_ids)), flush=True)
    # calibration: windows spread evenly over the training text
    n = min(args.calib_tokens, len(ids)) // args.seq
    starts = np.linspace(0, len(ids) - args.seq, n).astype(int)
    np.concatenate([ids[s:s + args.seq] for s in starts]).tofile(os.path.join(args.out, "calib.bin"))
    held_ids.tofile(os.path.join(args.out, "heldout.bin"))

    cfg = LlamaConfig(
        vocab_size=tok.get_vocab_size(), hidden_size=args.hidden, intermediate_size=args.inter,
        num_hidden_layers=args.layers, num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads, max_position_embeddings=args.seq,
        rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    model = LlamaForCausalLM(cfg)
    with torch.no_grad():
        for layer in model.model.layers:                # residual branches start small
            for lin in (layer.self_attn.o_proj, layer.mlp.down_proj):
                lin.weight /= math.sqrt(2 * args.layers)
    print("parameters %d" % sum(p.numel() for p in model.parameters()), flush=True)
    opt = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95),
                            weight_decay=0.0, foreach=True)
    data = torch.from_numpy(ids.astype(np.int64))
    t0, step, avg = time.time(), 0, 0.0
    while True:
        done = max(step / args.steps, (time.time() - t0) / (60 * args.minutes))
        if done >= 1:
            break
        lr = args.lr * min(1.0, (step + 1) / 60) * min(1.0, (1 - done) / 0.5)
        for g in opt.param_groups:
            g["lr"] = lr
        at = rng.integers(0, len(ids) - args.seq, args.batch)
        x = torch.stack([data[a:a + args.seq + 1] for a in at])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=x[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), x[:, 1:].reshape(-1))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        step += 1
        avg = loss.item() if step == 1 else 0.98 * avg + 0.02 * loss.item()
        if step % 50 == 0:
            sec = time.time() - t0
            print("step %d loss %.3f lr %.2e %.0f tok/s" %
                  (step, avg, lr, step * args.batch * args.seq / sec), flush=True)
        if step % 500 == 0:
            model.eval()
            print("  held-out perplexity (first 16k tokens) %.2f" %
                  perplexity(model, held_ids, args.seq, 16384), flush=True)
            model.train()
    print("stopped after %d steps, %d tokens, %.1f minutes" %
          (step, step * args.batch * args.seq, (time.time() - t0) / 60), flush=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    evaluate(args.out, args.seq)


if __name__ == "__main__":
    main()
