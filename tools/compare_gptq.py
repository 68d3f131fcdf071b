#!/usr/bin/env python3
"""Quantize a model with GPTQModel, an implementation of GPTQ that is not ours,
and measure what comes out as ours is measured.

MODEL is a Hugging Face folder.  It is quantized on the same calibration
windows that 'shardbits quantize --quantizer gptq' takes with --round-seqs N,
--seqlen L and --seed 0: windows of L tokens one after another, N of them spread
evenly over the file.  All matrices of the decoder layers are quantized;
embedding and norms stay as they are, and the LM head does without --head.  GPTQModel
quantizes no head that is tied to the embedding: such a model gets a head of its own
first, which costs its bytes.  What GPTQModel stores (codes,
16-bit scales, zero points, group indices) is read back and written to DIR,
dequantized, as an ordinary Hugging Face folder in float32, which holds these
products without further rounding.  DIR is then evaluated twice, by 'shardbits eval'
and by transformers in float32, over the same windows; the run fails when the
two disagree.

Printed is one row of a Markdown table (the rest goes to stderr):

  | implementation | order | code bits | group | effective bits | perplexity |
    perplexity in transformers | KL divergence | top-1 agreement | seconds |

Perplexity, KL divergence from MODEL (nats) and agreement of the likeliest token
with MODEL's are those of 'shardbits eval'; seconds are those of quantizing.
Effective bits are counted as shardbits counts its own: codes, a 16-bit scale
and a zero point of as many bits as a code for each group of each row (none with
--sym), over the number of weights.  With --act-order the weights of a group
are not neighbours, so that the group of every input channel has to be stored too:
it is counted with the fewest bits that can tell the groups of a row apart
(GPTQModel stores 32).  A last group that is shorter costs a whole one's scale.

Orders of rounding the columns:
  as stored      the default here
  --act-order    GPTQ's activation order: largest inputs first ("desc_act")
  --act-groups   inside each group only, and groups as wholes ("act_group_aware",
                 GPTQModel's own default): no index to store

Needs the packages of tools/requirements-gptq.txt, no GPU, and a built shardbits;
"""
import argparse
import importlib.util
import json
import math
import multiprocessing
import os
import shutil
import time

from compare import (add_evaluation, check_program, copy_config, die, finish, open_tensors, positive_int, run, say, take_windows,
                     version, vocabulary)

TESTED = {"torch": "2.15.0", "transformers": "5.24.0", "gptqmodel": "7.7.0"}
INSTALL = "pip install -r tools/requirements-gptq.txt"
# GPTQModel's own choice for a head that is quantized: bits, weights of a group, symmetric.
HEAD = (8, 32, True)
# Of a weight that stays: GPTQModel is given float32 here, but published folders have 16 bits.
STORED_BYTES = 2


# ------------------------------------------------------------------- command line

def parse_args():
    versions = ", ".join("%s %s" % item for item in TESTED.items())
    ap = argparse.ArgumentParser(
        description=__doc__ + versions + " were tested.",
        epilog="example, after tools/get_smollm2.sh m and a release build:\n"
               "  tools/compare_gptq.py m --calib m/calib.bin --tokens m/heldout.bin --bits 3 --act-order --out gptq3",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", metavar="MODEL", help="Hugging Face folder")
    ap.add_argument("--calib", metavar="TOKENS", help="calibration tokens, .bin or .npy (required unless --bits 16)")
    ap.add_argument("--tokens", metavar="TOKENS", required=True, help="held-out tokens to predict, .bin or .npy")
    ap.add_argument("--bits", type=int, default=3, choices=[2, 3, 4, 8, 16],
                    help="bits of a code; 16 quantizes nothing and evaluates MODEL itself (default: 3)")
    ap.add_argument("--group", type=int, default=128, choices=[16, 32, 64, 128, 256, 512, 1024],
                    help="weights of a row that share a scale (default: 128)")
    ap.add_argument("--out", metavar="DIR", help="folder to write; GPTQModel's log goes to DIR.log")
    ap.add_argument("--overwrite", action="store_true", help="replace DIR if it is there")
    ap.add_argument("--head", action="store_true",
                    help="quantize the LM head too, as GPTQModel does by default: 8 bits, symmetric groups of 32")
    ap.add_argument("--keep-packed", metavar="DIR", help="keep the folder in GPTQModel's own format, here")
    order = ap.add_mutually_exclusive_group()
    order.add_argument("--act-order", action="store_true", help="round columns in activation order")
    order.add_argument("--act-groups", action="store_true", help="the same inside each group only")
    grid = ap.add_mutually_exclusive_group()
    grid.add_argument("--asym", dest="sym", action="store_false", default=False, help="grids with a zero point (default)")
    grid.add_argument("--sym", dest="sym", action="store_true", help="symmetric grids")
    ap.add_argument("--mse", type=float, default=0.0, metavar="P",
                    help="search each group's range for the least sum of |error|^P (default: 0, its whole range)")
    ap.add_argument("--damp", type=float, default=0.05, metavar="SHARE",
                    help="damping as a share of the mean diagonal (default: 0.05, as GPTQModel has it)")
    ap.add_argument("--seqs", type=positive_int, default=256, metavar="N", help="calibration sequences (default: 256)")
    ap.add_argument("--seqlen", type=positive_int, default=128, metavar="L", help="tokens of each (default: 128)")
    add_evaluation(ap, "PyTorch")
    ap.add_argument("--device", default="cpu", help="where GPTQModel computes (default: cpu; no other was tested)")
    ap.add_argument("--json", metavar="FILE", help="also write all figures and settings as JSON")
    return ap.parse_args()


def check(args):
    """Everything that can be refused before the work is."""
    if not os.path.isfile(os.path.join(args.model, "config.json")):
        die("%s: not a Hugging Face folder (it has no config.json)" % args.model)
    if args.bits != 16:
        for value, option in ((args.calib, "--calib"), (args.out, "--out")):
            if not value:
                die("%s is missing (see --help)" % option)
    for path in (args.calib, args.tokens):
        if path and not os.path.isfile(path):
            die("%s: no such file; tools/make_tokens.py makes token files" % path)
        if path and not path.endswith((".bin", ".npy")):
            die("%s: token files are .bin or .npy; tools/make_tokens.py makes them" % path)
    if args.out and os.path.lexists(args.out):
        if not args.overwrite:
            die("%s is there already; name another folder, or add --overwrite" % args.out)
        if not os.path.isfile(os.path.join(args.out, "config.json")):
            die("%s is not replaced: it is not a folder that this script wrote (no config.json)" % args.out)
        if (os.path.realpath(args.model) + os.sep).startswith(os.path.realpath(args.out) + os.sep):
            die("%s is not replaced: MODEL is in it" % args.out)
    if args.json and not os.path.isdir(os.path.dirname(os.path.abspath(args.json))):
        die("--json %s: there is no such folder" % args.json)
    if args.keep_packed and os.path.lexists(args.keep_packed):
        die("%s is there already; name another folder for --keep-packed" % args.keep_packed)
    if not 0 < args.damp < 1:
        die("--damp %g is not between 0 and 1" % args.damp)
    if args.mse < 0:
        die("--mse %g is negative" % args.mse)
    check_program(args)
    for name in ("torch", "transformers", "gptqmodel") if args.bits != 16 else ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            die("the package %s is missing: %s (tested: %s==%s)" % (name, INSTALL, name, TESTED[name]))


# ------------------------------------------------------------------- GPTQModel

def run_gptqmodel(model, packed, log, result, rows, head, settings, threads):
    """In a process of its own: GPTQModel changes transformers as it is imported, and prints."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    # Its default on two cores is one worker, which it then refuses as too few.
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(max(2, threads)))
    import torch
    torch.set_num_threads(threads)
    from gptqmodel import GPTQModel, QuantizeConfig
    # gptq_v2 stores zero points as they are; gptq stores them less 1, which a zero point of 0 does not survive.
    # Without fallback a matrix that cannot be done is an error, not silently rounded to nearest.
    config = QuantizeConfig(lm_head=head, format="gptq_v2", fallback=None, offload_to_disk=False, **settings)
    quantizer = GPTQModel.load(model, config, dtype=torch.float32)
    start = time.perf_counter()
    matrices = quantizer.quantize([{"input_ids": r, "attention_mask": [1] * len(r)} for r in rows],
                                  calibration_sort=None, calibration_data_min_length=0, batch_size=8)
    seconds = time.perf_counter() - start
    quantizer.save(packed)
    seen = sorted({m["samples"] for m in sum(matrices.values(), [])}) if isinstance(matrices, dict) else []
    with open(result, "w", encoding="utf-8") as f:
        json.dump({"seconds": seconds, "tokens_seen": seen}, f)


def quantize(args, model, packed, rows):
    settings = {"bits": args.bits, "group_size": args.group, "sym": args.sym, "desc_act": args.act_order,
                "act_group_aware": args.act_groups, "mse": args.mse, "damp_percent": args.damp, "device": args.device}
    log, result = args.out + ".log", packed + ".json"
    say("quantizing with GPTQModel on %d sequences of %d tokens (log: %s)" % (len(rows), args.seqlen, log))
    child = multiprocessing.get_context("spawn").Process(
        target=run_gptqmodel, args=(model, packed, log, result, [r.tolist() for r in rows], args.head, settings,
                                                args.threads))
    child.start()
    child.join()
    if child.exitcode != 0 or not os.path.isfile(result):
        with open(log, encoding="utf-8", errors="replace") as f:
            lines = [line.strip() for line in f if line.strip()]
        die("GPTQModel failed (%s): %s" % (log, lines[-1] if lines else "no output"))
    with open(result, encoding="utf-8") as f:
        out = json.load(f)
    os.remove(result)
    out["settings"] = settings
    want = len(rows) * args.seqlen
    if [int(n) for n in out["tokens_seen"]] != [want]:
        die("GPTQModel saw %s calibration tokens at its matrices, not %d (%s)" % (out["tokens_seen"], want, log))
    return out


# ------------------------------------------------------------------- its format

def unpack(words, bits, count):
    """[words, n] 32-bit words, filled from the lowest bit down each column -> the first `count` codes of each."""
    import numpy as np
    words = words.astype(np.uint32).astype(np.uint64)
    words = np.concatenate([words, np.zeros_like(words[:1])])
    at = np.arange(count, dtype=np.int64) * bits
    pair = words[at // 32] | words[at // 32 + 1] << np.uint64(32)
    return ((pair >> (at % 32).astype(np.uint64)[:, None]) & np.uint64(2 ** bits - 1)).astype(np.int64)


def dequantize(read, name, args, shape, count):
    """The matrix `name` of GPTQModel's folder, [rows, cols] float32, exactly; adds its bits to `count`."""
    import numpy as np
    rows, cols = shape
    bits, group, sym = HEAD if name == "lm_head" else (args.bits, args.group, args.sym)
    groups = -(-cols // group)
    scales, index = read(name + ".scales"), read(name + ".g_idx").astype(np.int64)
    if scales.shape != (groups, rows) or index.shape != (cols,) or scales.dtype != np.float16:
        die("GPTQModel wrote %s with scales %s %s and %d indices: not the format of the version tested"
            % (name, scales.dtype, scales.shape, len(index)))
    codes = unpack(read(name + ".qweight"), bits, cols)                       # [cols, rows]
    zeros = unpack(read(name + ".qzeros").T, bits, rows).T                    # [groups, rows]
    weight = scales.astype(np.float32)[index] * (codes - zeros[index]).astype(np.float32)
    count["file_bytes"] += sum(read(name + end).nbytes for end in (".qweight", ".qzeros", ".scales", ".g_idx"))
    if name == "lm_head":
        return np.ascontiguousarray(weight.T)
    count["weights"] += rows * cols
    count["bits"] += rows * (cols * bits + groups * (16 if sym else 16 + bits))
    if not np.array_equal(index, np.arange(cols) // group):
        count["bits"] += cols * math.ceil(math.log2(groups))
        count["index_bits"] += cols * math.ceil(math.log2(groups))
    return np.ascontiguousarray(weight.T)


def untie(model, folder):
    """MODEL with a head of its own, a copy of its embedding, in float32."""
    import numpy as np
    from safetensors.numpy import save_file
    where, read = open_tensors(model)
    tensors = {name: np.ascontiguousarray(read(name), np.float32) for name in where}
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    os.makedirs(folder)
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    copy_config(model, folder, tie_word_embeddings=False)


def write_dequantized(args, model, packed, folder):
    """`model` in float32 with the quantized matrices of `packed` in their places, shard by shard as `model` has them."""
    import numpy as np
    from safetensors.numpy import save_file
    where, read = open_tensors(model)
    if not where:
        die("%s: no safetensors in it" % model)
    outside, read_packed = open_tensors(packed)
    count = {"weights": 0, "bits": 0, "index_bits": 0, "file_bytes": 0, "matrices": 0}
    os.makedirs(folder)
    for shard in sorted(set(where.values())):
        tensors = {}
        for name in (n for n in where if where[n] == shard):
            source = read(name).astype(np.float32)
            base = name.removesuffix(".weight")
            if base + ".qweight" in outside:
                tensors[name] = dequantize(read_packed, base, args, source.shape, count)
                count["matrices"] += 1
            else:
                if ".layers." in name and source.ndim == 2:
                    die("GPTQModel left %s as it was" % name)
                count["file_bytes"] += STORED_BYTES * source.size
                if name in outside and not np.array_equal(read_packed(name).astype(np.float32), source):
                    die("GPTQModel changed %s, which is none of the quantized matrices" % name)
                tensors[name] = np.ascontiguousarray(source)
        save_file(tensors, os.path.join(folder, shard), {"format": "pt"})
    if count["matrices"] != sum(n.endswith(".qweight") for n in outside):
        die("GPTQModel quantized tensors that MODEL does not have")
    copy_config(model, folder)
    index = os.path.join(model, "model.safetensors.index.json")
    if os.path.isfile(index):
        shutil.copy(index, folder)
    return count


# ------------------------------------------------------------------- evaluation

def print_row(args, figures):
    ours, theirs = figures["shardbits"], figures["transformers"]
    if args.bits == 16:
        cells = ["full precision", "", "", "", ""]
    else:
        order = "activation order" if args.act_order else "inside groups" if args.act_groups else "as stored"
        order += ", range search" if args.mse > 0 else ""
        cells = ["GPTQModel " + figures["versions"]["gptqmodel"], order, "%d" % args.bits,
                 "%d%s%s" % (args.group, ", symmetric" if args.sym else "", ", head too" if args.head else ""), "%.3f" % figures["effective_bits"]]
    cells += ["%.3f" % ours["perplexity"], "%.3f" % theirs["perplexity"], "%.4f" % ours["mean_kl"],
              "%.1f%%" % (100 * ours["top1_agreement"])]
    cells += ["%.0f" % figures["seconds"] if args.bits != 16 else ""]
    print("| " + " | ".join(cells) + " |")


def is_tied(model):
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        return bool(json.load(f).get("tie_word_embeddings"))


def make_folder(args, vocab, figures):
    """Quantizes into args.out, which appears only when it is complete."""
    rows = take_windows(args.calib, vocab, args.seqs, args.seqlen)
    parent = os.path.dirname(os.path.abspath(args.out))
    os.makedirs(parent, exist_ok=True)
    part = "%s.partial-%d" % (args.out, os.getpid())
    packed, model = args.keep_packed or part + ".packed", args.model
    try:
        if args.head and is_tied(args.model):
            model = part + ".untied"
            untie(args.model, model)
        done = quantize(args, model, packed, rows)
        count = write_dequantized(args, model, packed, part)
        if args.overwrite and os.path.isdir(args.out):
            shutil.rmtree(args.out)
        os.rename(part, args.out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(part + ".untied", ignore_errors=True)
        if not args.keep_packed:
            shutil.rmtree(packed, ignore_errors=True)
    figures.update(seconds=done["seconds"], settings=done["settings"], calibration_tokens=len(rows) * args.seqlen,
                   matrices=count["matrices"], weights=count["weights"], effective_bits=count["bits"] / count["weights"],
                   index_bits=count["index_bits"] / count["weights"], file_bytes=count["file_bytes"])


def main():
    args = parse_args()
    check(args)
    # Read as torch is loaded, here and in the process that quantizes. Threads that spin while they wait would take the
    # cores from each other: GPTQModel has several pools of them.
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    vocab = vocabulary(args.model)
    windows = take_windows(args.tokens, vocab, args.eval_seqs, args.eval_seqlen)
    figures = {"model": args.model, "bits": args.bits, "group": args.group, "head": args.head,
               "versions": {p: version(p) for p in ("gptqmodel", "torch", "transformers", "safetensors", "numpy")}}
    folder = args.model
    if args.bits != 16:
        folder = args.out
        make_folder(args, vocab, figures)
    finish(args, figures, folder, windows, print_row)


if __name__ == "__main__":
    run(main)
