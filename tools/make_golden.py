#!/usr/bin/env python3
"""Write the golden files of tests/golden/ with Hugging Face transformers.

Tiny random models (CASES), one folder each, and names.inc, by which the tests
know them. A folder has config.json, the weights as safetensors, and
  tokens.bin         uint16, 2 sequences x 48 tokens
  logits.bin         float32 [2, 48, vocab], model run in float32
  grads.safetensors  gradient of sequence 0's mean loss with respect to every
                     weight; computed in float64, stored as float32
  expect.json        shapes and the loss of each sequence: mean negative log
                     likelihood of the 47 next tokens, summed up in float64
The stored weights are exactly those the model was run with.

With --smollm2 DIR (made by get_smollm2.sh) it also writes smollm2/:
  tokens.bin         the first 512 tokens of DIR/heldout.bin, uint16
  logits_probe.bin   float32 [5, vocab]: logits at a few positions
  expect.json        those positions, their sums, and the loss
Needs requirements-golden.txt.
"""
import argparse
import json
import os
import shutil
import sys

try:
    import numpy as np
    import torch
    from safetensors.torch import save_file
    import transformers
    from transformers.utils import logging
    logging.disable_progress_bar()
except ImportError as e:
    if not {"-h", "--help"} & set(sys.argv):
        sys.exit("make_golden.py: %s (pip install -r tools/requirements-golden.txt)" % e)

SEQS, LEN = 2, 48

BASE = dict(hidden_size=48, intermediate_size=136, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, vocab_size=260, max_position_embeddings=128, rms_norm_eps=1e-5,
            tie_word_embeddings=False, rope_theta=10000.0)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 128}

# name: (changes to BASE, dtype of the file, number of files). The model is Llama's unless
# `architectures` and `model_type` are among the changes.
CASES = {
    "mha-untied": (dict(intermediate_size=88), "bfloat16", 1),
    "gqa-tied": (dict(num_key_value_heads=2, tie_word_embeddings=True), "bfloat16", 1),
    "llama3-rope": (dict(num_key_value_heads=2, intermediate_size=140, rope_theta=500000.0, max_position_embeddings=256,
                         rope_scaling=LLAMA3), "bfloat16", 1),
    "rope-parameters": (dict(num_key_value_heads=1, head_dim=16, hidden_size=40, vocab_size=263,
                             rope_parameters={"rope_type": "default", "rope_theta": 50000.0}), "bfloat16", 1),
    "sharded-f16": (dict(num_key_value_heads=2, hidden_size=32, intermediate_size=136, num_hidden_layers=3), "float16", 3),
    "f32-single": (dict(num_key_value_heads=2, hidden_size=32, intermediate_size=130, vocab_size=256, rms_norm_eps=1e-6), "float32", 1),
    "yarn-rope": (dict(num_attention_heads=2, num_key_value_heads=1, hidden_size=24, intermediate_size=40, vocab_size=64,
                       rope_scaling=YARN), "bfloat16", 1),
}


def config_dict(changes, dtype):
    """config.json in the spelling that the case is about."""
    c = dict(BASE, **changes)
    if "rope_parameters" in c:                      # transformers 5 writes this
        del c["rope_theta"]
        c["dtype"] = dtype
    else:                                           # transformers 4 wrote this
        c.setdefault("rope_scaling", None)
        c["torch_dtype"] = dtype
    common = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
                  attention_bias=False, mlp_bias=False, attention_dropout=0.0, initializer_range=0.02,
                  bos_token_id=1, eos_token_id=2)
    return dict(sorted(dict(common, **c).items()))


def random_weights(model, dtype, gen):
    """Weights large enough for every part of the model to matter, then rounded
    to the dtype of the file."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("norm.weight"):
                w = 1.0 + 0.3 * torch.randn(p.shape, generator=gen)
            elif "embed_tokens" in name:
                w = (0.15 if model.config.tie_word_embeddings else 0.5) * torch.randn(p.shape, generator=gen)
            else:
                w = 1.4 / p.shape[1] ** 0.5 * torch.randn(p.shape, generator=gen)
            p.copy_(w.to(getattr(torch, dtype)).to(p.dtype))


def sequence_loss(logits, tokens):
    """Mean next-token NLL in float64 from float32 logits."""
    logp = torch.log_softmax(logits[:-1].double(), -1)
    return -logp.gather(-1, tokens[1:, None]).mean().item()


def dump(path, obj):
    with open(path, "w") as f:
        json.dump(obj, f, indent=2)
        f.write("\n")


def save_weights(folder, tensors, files):
    meta = {"format": "pt"}
    if files == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata=meta)
        return
    names, where = sorted(tensors), {}
    for i in range(files):
        part = names[len(names) * i // files:len(names) * (i + 1) // files]
        fname = "model-%05d-of-%05d.safetensors" % (i + 1, files)
        save_file({n: tensors[n] for n in part}, os.path.join(folder, fname), metadata=meta)
        where.update({n: fname for n in part})
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    dump(os.path.join(folder, "model.safetensors.index.json"),
         {"metadata": {"total_size": size}, "weight_map": where})


def make_case(root, name, seed):
    changes, dtype, files = CASES[name]
    folder = os.path.join(root, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    conf = config_dict(changes, dtype)
    dump(os.path.join(folder, "config.json"), conf)
    kind = getattr(transformers, conf["architectures"][0])
    gen = torch.Generator().manual_seed(seed)
    model = kind(kind.config_class.from_pretrained(folder)).float().eval()
    random_weights(model, dtype, gen)
    tied = conf["tie_word_embeddings"]
    tensors = {n: p.detach().to(getattr(torch, dtype)).contiguous() for n, p in model.named_parameters()
               if not (tied and n == "lm_head.weight")}
    save_weights(folder, tensors, files)

    # Run what a reader of the folder gets, not the model in memory.
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = torch.randint(0, conf["vocab_size"], (SEQS, LEN), generator=gen)
    tokens.numpy().astype("<u2").tofile(os.path.join(folder, "tokens.bin"))
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits
    logits.numpy().astype("<f4").tofile(os.path.join(folder, "logits.bin"))
    losses = [sequence_loss(logits[s], tokens[s]) for s in range(SEQS)]

    exact = kind.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    out = exact(input_ids=tokens[:1], use_cache=False).logits[0]
    loss = torch.nn.functional.cross_entropy(out[:-1], tokens[0, 1:])
    loss.backward()
    if abs(loss.item() - losses[0]) > 1e-4:
        raise RuntimeError("%s: float32 and float64 losses differ: %g %g" % (name, losses[0], loss.item()))
    grads = {n: p.grad.float().contiguous() for n, p in exact.named_parameters()
             if not (tied and n == "lm_head.weight")}
    save_file(grads, os.path.join(folder, "grads.safetensors"), metadata={"format": "pt"})
    dump(os.path.join(folder, "expect.json"), {
        "sequences": SEQS, "length": LEN, "vocab": conf["vocab_size"], "loss": losses,
        "loss_float64_sequence0": loss.item()})
    print("%s: loss %s" % (name, ", ".join("%.6f" % x for x in losses)))


def write_names(root):
    """The list of cases that tests/support/golden.h includes."""
    with open(os.path.join(root, "names.inc"), "w") as f:
        f.write("/* Written by tools/make_golden.py: the models of this folder. */\n")
        f.writelines('"%s",\n' % name for name in CASES)


def make_smollm2(root, model_dir):
    folder = os.path.join(root, "smollm2")
    os.makedirs(folder, exist_ok=True)
    ids = np.fromfile(os.path.join(model_dir, "heldout.bin"), dtype="<u2")[:512]
    if len(ids) < 512:
        raise ValueError("%s/heldout.bin has fewer than 512 tokens" % model_dir)
    model = transformers.LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32,
                                                          attn_implementation="eager").eval()
    tokens = torch.from_numpy(ids.astype(np.int64))
    with torch.no_grad():
        logits = model(input_ids=tokens[None], use_cache=False).logits[0]
    at = [0, 1, 63, 255, 511]
    ids.tofile(os.path.join(folder, "tokens.bin"))
    probe = logits[at].numpy().astype("<f4")
    probe.tofile(os.path.join(folder, "logits_probe.bin"))
    loss = sequence_loss(logits, tokens)
    dump(os.path.join(folder, "expect.json"), {
        "length": 512, "vocab": logits.shape[1], "positions": at,
        "logit_sum": [float(x) for x in probe.astype(np.float64).sum(1)],
        "argmax": [int(x) for x in probe.argmax(1)],
        "loss": loss})
    print("smollm2: loss %.6f, perplexity %.3f" % (loss, np.exp(loss)))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out", nargs="?", default="tests/golden", help="default: tests/golden")
    ap.add_argument("--smollm2", metavar="DIR", help="folder made by get_smollm2.sh")
    ap.add_argument("--only-smollm2", action="store_true", help="leave the tiny models alone")
    args = ap.parse_args()
    torch.set_num_threads(1)
    try:
        if not args.only_smollm2:
            for i, name in enumerate(CASES):
                make_case(args.out, name, 100 + i)
            write_names(args.out)
        if args.smollm2:
            make_smollm2(args.out, args.smollm2)
    except (OSError, ValueError, RuntimeError) as e:
        sys.exit("make_golden.py: %s" % (str(e).splitlines() or [type(e).__name__])[0])


if __name__ == "__main__":
    main()
