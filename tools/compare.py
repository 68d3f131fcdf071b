"""What compare_gptq.py, compare_autoround.py and compare_gguf.py share: the windows that shardbits takes of a token file, its
eval, and that of transformers."""
import argparse
import importlib.metadata
import json
import logging
import math
import os
import shutil
import subprocess
import sys

ME = os.path.basename(sys.argv[0])
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def die(msg):
    sys.exit("%s: %s" % (ME, msg))


def say(msg):
    print("%s: %s" % (ME, msg), file=sys.stderr, flush=True)


def positive_int(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("%d is not at least 1" % value)
    return value


def add_evaluation(ap, packages):
    """The options of how a result is evaluated."""
    ap.add_argument("--eval-seqs", type=positive_int, default=32, metavar="N", help="windows to predict (default: 32)")
    ap.add_argument("--eval-seqlen", type=positive_int, default=512, metavar="L", help="tokens of each (default: 512)")
    ap.add_argument("--threads", type=positive_int, default=len(os.sched_getaffinity(0)), metavar="N",
                    help="threads of %s (default: the cores there are)" % packages)
    ap.add_argument("--shardbits", metavar="PROGRAM", default=os.path.join(ROOT, "build", "release", "shardbits"),
                    help="the program (default: build/release/shardbits)")
    ap.add_argument("--ranks", type=positive_int, default=1, metavar="N", help="ranks of shardbits eval (default: 1)")


def check_program(args):
    if not os.access(args.shardbits, os.X_OK):
        die("%s: no such program; build it (cmake --preset release && cmake --build --preset release) or give --shardbits"
            % args.shardbits)


def read_tokens(path, vocab):
    """All ids of a token file, of the width that io/token_find.h takes for a raw one."""
    import numpy as np
    if path.endswith(".npy"):
        try:
            ids = np.load(path, allow_pickle=False).reshape(-1)
        except ValueError as e:
            die("%s: %s" % (path, e))
    else:
        raw = np.fromfile(path, dtype=np.uint8)
        words = raw[:len(raw) // 2 * 2].view("<u2")
        wide = vocab > 65536
        if not wide and len(raw) % 4 == 0 and not words[1::2].any():
            die("%s: may hold 32-bit or 16-bit ids; save a .npy file, which says it" % path)
        if len(raw) % (4 if wide else 2):
            die("%s: %d bytes are no whole number of tokens" % (path, len(raw)))
        ids = raw.view("<u4" if wide else "<u2")
    ids = ids.astype(np.int64)
    if len(ids) and not (0 <= ids.min() and ids.max() < vocab):
        die("%s: token id %d, but the model's vocabulary has %d ids: tokenized for another model?"
            % (path, ids.min() if ids.min() < 0 else ids.max(), vocab))
    return ids


def take_windows(path, vocab, most, seqlen):
    """The windows that pass/sequences.c takes with seed 0: of w, those numbered floor(k w / most), k = 0, 1, ..."""
    ids = read_tokens(path, vocab)
    windows = len(ids) // seqlen
    if windows == 0:
        die("%s: holds %d tokens, less than one sequence of %d" % (path, len(ids), seqlen))
    most = min(most, windows)
    return [ids[w * seqlen:(w + 1) * seqlen] for w in (k * windows // most for k in range(most))]


def eval_shardbits(args, folder):
    report = (args.out or ME) + ".eval-%d.json" % os.getpid()
    command = [os.path.join(ROOT, "tests", "mpirun.sh"), str(args.ranks)] if args.ranks > 1 else []
    command += [args.shardbits, "eval", folder, "--tokens", args.tokens, "--seqs", str(args.eval_seqs), "--seqlen",
                str(args.eval_seqlen), "--ref", args.model, "--quiet", "--json", report]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            die("shardbits eval failed: " + (done.stderr.strip().splitlines() or ["no message"])[-1])
        with open(report, encoding="utf-8") as f:
            return json.load(f)
    finally:
        if os.path.exists(report):
            os.remove(report)


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def open_tensors(folder):
    """name -> file, of all safetensors of a folder, and a reader that gives NumPy arrays."""
    from safetensors import safe_open
    import torch
    where, files = {}, {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            files[name] = safe_open(os.path.join(folder, name), "pt")
            where.update(dict.fromkeys(files[name].keys(), name))

    def read(tensor):
        if tensor not in where:
            die("%s: no tensor %s" % (folder, tensor))
        value = files[where[tensor]].get_tensor(tensor)
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()

    return where, read


def copy_config(model, folder, **changes):
    """The JSON files of MODEL, for weights in float32."""
    for name in os.listdir(model):
        if name.endswith(".json") and not name.endswith(".index.json"):
            shutil.copy(os.path.join(model, name), folder)
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.pop("dtype", None)
    config.update(torch_dtype="float32", **changes)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)
        f.write("\n")


def eval_transformers(folder, windows, threads):
    import torch
    # torchao, which GPTQModel brings along, is older than torch wants it and says so on every import.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    import transformers
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total = targets = 0
    with torch.no_grad():
        for window in windows:
            ids = torch.from_numpy(window)
            logits = model(ids[None], use_cache=False).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
            total += loss.double().sum().item()
            targets += len(loss)
    return {"loss": total / targets, "perplexity": math.exp(total / targets), "tokens": targets}


# Two programs sum in different orders: on SmolLM2 their losses differ by less than a tenth of this.
AGREEMENT = 1e-4


def vocabulary(model):
    try:
        with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
            return int(json.load(f)["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        die("%s: its config.json gives no vocab_size" % model)


def finish(args, figures, folder, windows, print_row):
    """Evaluates `folder` by both programs, writes and prints the figures, and fails where the two disagree."""
    say("evaluating with shardbits, %d sequences of %d tokens" % (len(windows), args.eval_seqlen))
    ours = figures["shardbits"] = eval_shardbits(args, folder)
    say("evaluating with transformers")
    theirs = figures["transformers"] = eval_transformers(folder, windows, args.threads)
    figures.update({key: ours[key] for key in ("perplexity", "mean_kl", "top1_agreement")})
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(figures, f, indent=2)
            f.write("\n")
    print_row(args, figures)
    if ours["tokens"] != theirs["tokens"] or abs(ours["loss"] - theirs["loss"]) > AGREEMENT * max(1.0, theirs["loss"]):
        die("the two evaluations disagree: loss %.6f over %d tokens in shardbits, %.6f over %d in transformers"
            % (ours["loss"], ours["tokens"], theirs["loss"], theirs["tokens"]))


def run(main):
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as e:
        die("%s: %s" % (e.filename, e.strerror) if e.filename else str(e))
