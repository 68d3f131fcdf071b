#!/usr/bin/env python3
"""Quantize a model with AutoRound, which learns roundings by signed gradients, and measure what comes out as ours is measured.

MODEL is a Hugging Face folder. It is quantized on the same calibration windows that 'shardbits quantize' takes with
--round-seqs N, --seqlen L and --seed 0. All matrices of the decoder layers are quantized; embedding, head and norms stay.
With one width in --widths all matrices have it; with several, AutoRound's AutoScheme gives each matrix one of them, for
--bits B effective bits on average, which it counts as shardbits does: codes, a 16-bit scale and a zero point a group.
AutoRound computes in float32 here, not in its default of bfloat16, so that its result is dequantized without a further
rounding. It is written to DIR, an ordinary Hugging Face folder in float32, and evaluated twice, by 'shardbits eval' and by
transformers, over the same windows; the run fails when the two disagree.

Printed is one row of a Markdown table (the rest goes to stderr):

  | widths | group | effective bits | perplexity | perplexity in transformers | KL divergence | top-1 agreement | seconds |

Perplexity, KL divergence from MODEL (nats) and agreement of the likeliest token with MODEL's are those of 'shardbits eval';
seconds are those of choosing widths and quantizing.

Needs the packages of tools/requirements-autoround.txt, no GPU, and a built shardbits; auto-round 0.16.1 was tested.
"""
import argparse
import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import time

from compare import (add_evaluation, check_program, copy_config, die, finish, open_tensors, positive_int, run, say, take_windows,
                     version, vocabulary)

INSTALL = "pip install -r tools/requirements-autoround.txt"
SCALE_BITS = 16


def parse_args():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example, after tools/get_smollm2.sh m and a release build:\n"
               "  tools/compare_autoround.py m --calib m/calib.bin --tokens m/heldout.bin --bits 3.3 --out autoround33")
    ap.add_argument("model", metavar="MODEL", help="Hugging Face folder")
    ap.add_argument("--calib", metavar="TOKENS", required=True, help="calibration tokens, .bin or .npy")
    ap.add_argument("--tokens", metavar="TOKENS", required=True, help="held-out tokens to predict, .bin or .npy")
    ap.add_argument("--widths", metavar="B,B,...", default="2,3,4,5,6,8", help="widths to choose from (default: 2,3,4,5,6,8)")
    ap.add_argument("--bits", type=float, metavar="B", help="effective bits of the layers, where there are several widths")
    ap.add_argument("--group", type=int, default=64, choices=[32, 64, 128], help="weights of a row that share a scale (default: 64)")
    ap.add_argument("--iters", type=int, default=200, metavar="N", help="steps of each layer's training (default: 200, AutoRound's)")
    ap.add_argument("--out", metavar="DIR", required=True, help="folder to write; AutoRound's log goes to DIR.log")
    ap.add_argument("--overwrite", action="store_true", help="replace DIR if it is there")
    ap.add_argument("--seqs", type=positive_int, default=256, metavar="N", help="calibration sequences (default: 256)")
    ap.add_argument("--seqlen", type=positive_int, default=128, metavar="L", help="tokens of each (default: 128)")
    add_evaluation(ap, "PyTorch")
    ap.add_argument("--json", metavar="FILE", help="also write all figures and settings as JSON")
    return ap.parse_args()


def check(args):
    """Everything that can be refused before the work is; the widths."""
    if not os.path.isfile(os.path.join(args.model, "config.json")):
        die("%s: not a Hugging Face folder (it has no config.json)" % args.model)
    for path in (args.calib, args.tokens):
        if not os.path.isfile(path) or not path.endswith((".bin", ".npy")):
            die("%s: no token file (.bin or .npy); tools/make_tokens.py makes them" % path)
    if not re.fullmatch(r"[2-8](,[2-8])*", args.widths):
        die("--widths %s: widths of 2 to 8 bits are expected, with commas between them" % args.widths)
    widths = sorted({int(w) for w in args.widths.split(",")})
    if len(widths) > 1 and args.bits is None:
        die("--bits is missing: the effective bits to choose widths for")
    if len(widths) == 1 and args.bits is not None:
        die("--bits %g: there is one width, %d; --bits chooses among several" % (args.bits, widths[0]))
    if os.path.lexists(args.out):
        if not args.overwrite:
            die("%s is there already; name another folder, or add --overwrite" % args.out)
        if not os.path.isfile(os.path.join(args.out, "config.json")):
            die("%s is not replaced: it is not a folder that this script wrote (no config.json)" % args.out)
    check_program(args)
    for name in ("torch", "transformers", "auto_round"):
        if importlib.util.find_spec(name) is None:
            die("the package %s is missing: %s" % (name, INSTALL))
    return widths


# ------------------------------------------------------------------- AutoRound

class NoTokenizer:
    """AutoRound asks for a tokenizer; the windows are tokens already."""
    pad_token_id = eos_token_id = bos_token_id = 0
    model_max_length = 1 << 20

    def save_pretrained(self, *args, **kwargs):
        return ()


def run_autoround(model, out, log, rows, widths, args):
    """In a process of its own, since it prints. Writes weights and widths of the quantized matrices."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    seqlen = len(rows[0])
    # AutoScheme takes 16 sequences of 256 tokens by itself, keeps scores of earlier models, and drops shorter sequences.
    os.environ.update(AR_AUTO_SCHEME_SEQLEN=str(seqlen), AR_AUTO_SCHEME_NSAMPLES=str(len(rows)), AR_AUTO_SCHEME_CACHE=out + "/cache")
    import torch
    torch.set_num_threads(args.threads)
    from auto_round import AutoRound
    from auto_round.calib_dataset import register_dataset
    from datasets import Dataset
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    @register_dataset("shardbits_windows")
    def windows(**kwargs):
        return Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * seqlen for _ in rows]})

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    names = ["W%dA16G%d" % (w, args.group) if args.group != 128 else "W%dA16" % w for w in widths]
    choice = {"scheme": names[0]} if len(names) == 1 else {"schemes": names, "bits": args.bits}
    start = time.perf_counter()
    quantizer = AutoRound(network, NoTokenizer(), dataset="shardbits_windows", seqlen=seqlen, nsamples=len(rows), batch_size=8,
                          iters=args.iters, device_map="cpu", enable_torch_compile=False, seed=0, amp=False, **choice)
    network, layers = quantizer.quantize()
    seconds = time.perf_counter() - start
    done = {name: {"bits": int(c["bits"]), "sym": bool(c["sym"]), "group": int(c["group_size"])}
            for name, c in layers.items() if int(c["bits"]) < 16}
    state = network.state_dict()
    save_file({name: state[name + ".weight"].float().contiguous() for name in done}, out + "/matrices.safetensors")
    with open(out + "/result.json", "w", encoding="utf-8") as f:
        json.dump({"seconds": seconds, "matrices": done}, f)


def quantize(args, widths, rows, folder):
    log = args.out + ".log"
    say("quantizing with AutoRound on %d sequences of %d tokens (log: %s)" % (len(rows), args.seqlen, log))
    child = multiprocessing.get_context("spawn").Process(
        target=run_autoround, args=(args.model, folder, log, [r.tolist() for r in rows], widths, args))
    child.start()
    child.join()
    if child.exitcode != 0 or not os.path.isfile(folder + "/result.json"):
        with open(log, encoding="utf-8", errors="replace") as f:
            lines = [line.strip() for line in f if line.strip()]
        die("AutoRound failed (%s): %s" % (log, lines[-1] if lines else "no output"))
    with open(folder + "/result.json", encoding="utf-8") as f:
        return json.load(f)


# ------------------------------------------------------------------- its result

def check_levels(name, weight, settings):
    """Every group has as few values as its width allows: the weights are what its codes stand for."""
    import numpy as np
    rows, cols = weight.shape
    group = settings["group"]
    for row in weight[:: max(1, rows // 8)]:
        for start in range(0, cols, group):
            if len(np.unique(row[start:start + group])) > 1 << settings["bits"]:
                die("AutoRound left %s with more than %d levels in a group" % (name, 1 << settings["bits"]))


def write_folder(args, work, done, folder):
    """MODEL in float32 with the matrices that AutoRound made; counts their bits."""
    import numpy as np
    from safetensors.numpy import save_file
    where, read = open_tensors(args.model)
    made, read_made = open_tensors(work)
    count = {"weights": 0, "bits": 0, "matrices": 0}
    os.makedirs(folder)
    for shard in sorted(set(where.values())):
        tensors = {}
        for name in (n for n in where if where[n] == shard):
            source = read(name).astype(np.float32)
            base = name.removesuffix(".weight")
            if base in made:
                settings = done["matrices"][base]
                weight = read_made(base)
                check_levels(base, weight, settings)
                groups = -(-weight.shape[1] // settings["group"])
                count["weights"] += weight.size
                count["bits"] += weight.shape[0] * (weight.shape[1] * settings["bits"]
                                                    + groups * (SCALE_BITS + (0 if settings["sym"] else settings["bits"])))
                count["matrices"] += 1
                tensors[name] = weight
            else:
                if ".layers." in name and source.ndim == 2:
                    die("AutoRound left %s as it was" % name)
                tensors[name] = np.ascontiguousarray(source)
        save_file(tensors, os.path.join(folder, shard), {"format": "pt"})
    copy_config(args.model, folder)
    index = os.path.join(args.model, "model.safetensors.index.json")
    if os.path.isfile(index):
        shutil.copy(index, folder)
    return count


def make_folder(args, widths, figures, vocab):
    rows = take_windows(args.calib, vocab, args.seqs, args.seqlen)
    part = "%s.partial-%d" % (args.out, os.getpid())
    work = part + ".work"
    os.makedirs(work)
    try:
        done = quantize(args, widths, rows, work)
        count = write_folder(args, work, done, part)
        if args.overwrite and os.path.isdir(args.out):
            shutil.rmtree(args.out)
        os.rename(part, args.out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    figures.update(seconds=done["seconds"], matrices=count["matrices"], weights=count["weights"],
                   effective_bits=count["bits"] / count["weights"], calibration_tokens=len(rows) * args.seqlen,
                   widths={name: c["bits"] for name, c in done["matrices"].items()})


def print_row(args, figures):
    ours, theirs = figures["shardbits"], figures["transformers"]
    used = sorted(set(figures["widths"].values()))
    cells = [", ".join(map(str, used)), "%d" % args.group, "%.3f" % figures["effective_bits"], "%.3f" % ours["perplexity"],
             "%.3f" % theirs["perplexity"], "%.4f" % ours["mean_kl"], "%.1f%%" % (100 * ours["top1_agreement"]),
             "%.0f" % figures["seconds"]]
    print("| " + " | ".join(cells) + " |")


def main():
    args = parse_args()
    widths = check(args)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    vocab = vocabulary(args.model)
    windows = take_windows(args.tokens, vocab, args.eval_seqs, args.eval_seqlen)
    figures = {"model": args.model, "bits": args.bits, "group": args.group, "iters": args.iters,
               "versions": {p: version(p) for p in ("auto-round", "torch", "transformers", "safetensors", "numpy")}}
    make_folder(args, widths, figures, vocab)
    finish(args, figures, args.out, windows, print_row)


if __name__ == "__main__":
    run(main)
