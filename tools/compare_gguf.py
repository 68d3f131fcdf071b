#!/usr/bin/env python3
"""Quantize a model with llama.cpp and measure what comes out as ours is measured.

MODEL is a Hugging Face folder of the Llama family. It becomes a GGUF file in float32, llama.cpp runs it over the
calibration windows and adds up the squares of what enters each matrix, as its tool llama-imatrix does, and quantizes it to
TYPE with that importance. The result is taken back to float32 by llama.cpp itself and written to DIR, an ordinary Hugging
Face folder, so that 'shardbits eval' takes it over the same windows as anything else. llama.cpp evaluates its own file over
them too: there activations are rounded to 8 bits, as they are when people run it.

The file has no vocabulary in it. Its bytes are the tensors and some KB of sizes and names.

Rows of a matrix are cut into blocks of 256 for K and IQ types (IQ4_NL: 32). Where a row is no multiple of that, llama.cpp
takes another type, mostly a larger one: the report counts the tensors of each type that the file has.

Needs the packages of tools/requirements-gguf.txt, no GPU, and a built shardbits; llama-cpp-python 0.3.36 was tested.
"""
import argparse
import collections
import ctypes
import importlib.util
import json
import math
import os
import shutil
import time

from compare import add_evaluation, check_program, die, eval_shardbits, positive_int, run, say, take_windows, version

INSTALL = "pip install -r tools/requirements-gguf.txt"
# Activations rounded to 8 bits move llama.cpp's own loss: by less than a fifth of this on SmolLM2.
AGREEMENT = 2e-2
MATRICES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj"}
NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


# ------------------------------------------------------------------- command line

def parse_args():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example, after tools/get_smollm2.sh m and a release build:\n"
               "  tools/compare_gguf.py m --calib m/calib.bin --tokens m/heldout.bin --type Q3_K_M --out q3km --json q3km.json")
    ap.add_argument("model", metavar="MODEL", help="Hugging Face folder of the Llama family")
    ap.add_argument("--calib", metavar="TOKENS", required=True, help="calibration tokens, .bin or .npy")
    ap.add_argument("--tokens", metavar="TOKENS", required=True, help="held-out tokens to predict, .bin or .npy")
    ap.add_argument("--type", metavar="TYPE", required=True, help="as llama-quantize has it: Q2_K, Q3_K_M, IQ3_M, Q4_K_M ...")
    ap.add_argument("--token-embedding-type", metavar="TYPE", help="another type for the embedding (a tied head with it): Q4_0 ...")
    ap.add_argument("--pure", action="store_true", help="the same type for all matrices")
    ap.add_argument("--no-imatrix", dest="imatrix", action="store_false", help="without importance")
    ap.add_argument("--out", metavar="DIR", required=True, help="folder to write; DIR.gguf beside it is llama.cpp's file")
    ap.add_argument("--work", metavar="DIR", help="where source file and importance are kept for other types (default: beside --out)")
    ap.add_argument("--seqs", type=positive_int, default=64, metavar="N", help="calibration sequences (default: 64)")
    ap.add_argument("--seqlen", type=positive_int, default=512, metavar="L", help="tokens of each (default: 512)")
    add_evaluation(ap, "llama.cpp")
    ap.add_argument("--json", metavar="FILE", required=True, help="figures and settings")
    return ap.parse_args()


def check(args):
    """Everything that can be refused before the work is."""
    if not os.path.isfile(os.path.join(args.model, "config.json")):
        die("%s: not a Hugging Face folder (it has no config.json)" % args.model)
    for path in (args.calib, args.tokens):
        if not os.path.isfile(path):
            die("%s: no such file; tools/make_tokens.py makes token files" % path)
    check_program(args)
    for name in ("llama_cpp", "gguf", "safetensors", "numpy"):
        if importlib.util.find_spec(name) is None:
            die("the package %s is missing: %s" % (name, INSTALL))


# ------------------------------------------------------------------- MODEL as a GGUF file

def float32(found, name):
    import numpy as np
    if name not in found:
        die("MODEL has no tensor " + name)
    kind, data = found[name]
    return (data.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else data.astype(np.float32)


def halves_mixed(w, heads):
    """The row order that GGUF keeps for its interleaved rotation; gguf_to_hf.py undoes it."""
    rows, cols = w.shape
    return w.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def write_source(model, path):
    """MODEL in float32, without a vocabulary."""
    import gguf
    import numpy as np
    from exl3_to_hf import read
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        c = json.load(f)
    if c.get("model_type") != "llama" or (c.get("rope_scaling") or {}).get("rope_type", "default") != "default":
        die("%s: only Llama without RoPE scaling is converted here" % model)
    theta = c.get("rope_theta") or (c.get("rope_parameters") or {}).get("rope_theta", 10000.0)
    heads = c["num_attention_heads"]
    kv, dim = c.get("num_key_value_heads") or heads, c.get("head_dim") or c["hidden_size"] // heads
    w = gguf.GGUFWriter(path, "llama")
    w.add_vocab_size(c["vocab_size"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_key_length(dim)
    w.add_value_length(dim)
    w.add_rope_dimension_count(dim)
    w.add_rope_freq_base(theta)
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_file_type(0)
    w.add_tokenizer_model("no_vocab")
    found = read(model)

    def add(name, source, order=None):
        x = float32(found, source)
        w.add_tensor(name, np.ascontiguousarray(halves_mixed(x, order) if order else x))

    add("token_embd.weight", "model.embed_tokens.weight")
    for i in range(c["num_hidden_layers"]):
        for ours, theirs in {**MATRICES, **NORMS}.items():
            order = {"attn_q": heads, "attn_k": kv}.get(ours)
            add("blk.%d.%s.weight" % (i, ours), "model.layers.%d.%s.weight" % (i, theirs), order)
    add("output_norm.weight", "model.norm.weight")
    if not c.get("tie_word_embeddings"):
        add("output.weight", "lm_head.weight")
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ------------------------------------------------------------------- llama.cpp

class Tensor(ctypes.Structure):
    """struct ggml_tensor of ggml.h."""


Tensor._fields_ = [("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4), ("nb", ctypes.c_size_t * 4),
                   ("op", ctypes.c_int), ("op_params", ctypes.c_int32 * 16), ("flags", ctypes.c_int32),
                   ("src", ctypes.POINTER(Tensor) * 10), ("view_src", ctypes.c_void_p), ("view_offs", ctypes.c_size_t),
                   ("data", ctypes.c_void_p), ("name", ctypes.c_char * 64), ("extra", ctypes.c_void_p)]


class Llama:
    """llama.cpp's library. Its messages go to `log`: it prints much."""

    def __init__(self, log):
        import llama_cpp
        self.lib, self.log, self.kept = llama_cpp, log, []

        @llama_cpp.llama_log_callback
        def write(_level, text, _data):
            log.write(text.decode(errors="replace"))

        self.kept.append(write)
        self.lib.llama_log_set(write, None)
        self.lib.llama_backend_init()

    def constant(self, prefix, name):
        value = getattr(self.lib, prefix + name.upper(), None)
        if value is None:
            die("llama.cpp has no type " + name)
        return value

    def types(self):
        """Number of a tensor's type -> its name."""
        return {value: name[10:] for name, value in vars(self.lib).items() if name.startswith("GGML_TYPE_")}

    def quantize(self, source, out, file_type, settings, importance=None):
        """The file `out` of the file `source`; settings are fields of llama_model_quantize_params."""
        params = self.lib.llama_model_quantize_default_params()
        params.ftype = file_type
        for field, value in settings.items():
            setattr(params, field, value)
        if importance:
            entry = self.lib.llama_model_imatrix_data
            values = [entry(name.encode(), x.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), len(x))
                      for name, x in importance.items()]
            params.imatrix = (entry * (len(values) + 1))(*values)
        if self.lib.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params)) != 0:
            die("llama.cpp could not quantize %s (%s)" % (source, self.log.name))

    def open(self, path, length, threads, watch=None):
        """A context of `length` tokens; `watch(name, inputs [tokens, cols])` sees what enters each matrix."""
        lib = self.lib
        params = lib.llama_model_default_params()
        params.use_extra_bufts = False  # no weights repacked for tiles (AMX): the version tested crashed there
        model = lib.llama_model_load_from_file(path.encode(), params)
        if not model:
            die("llama.cpp could not load %s (%s)" % (path, self.log.name))
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = length
        params.n_threads = params.n_threads_batch = threads
        if watch:
            params.cb_eval = lib.ggml_backend_sched_eval_callback(lambda t, ask, _: self.seen(t, ask, watch))
            self.kept.append(params.cb_eval)
        context = lib.llama_init_from_model(model, params)
        if not context:
            die("llama.cpp made no context for %s (%s)" % (path, self.log.name))
        return context

    @staticmethod
    def seen(pointer, ask, watch):
        import numpy as np
        t = Tensor.from_address(pointer)
        if not t.src[0] or not t.src[1]:
            return not ask
        weights, inputs = t.src[0].contents, t.src[1].contents
        name = weights.name.decode(errors="replace")
        # a weight [rows, cols] times activations [tokens, cols] in float32
        if not name.endswith(".weight") or inputs.type != 0 or weights.ne[0] != inputs.ne[0] or weights.ne[1] != t.ne[0]:
            return not ask
        if not ask:
            data = ctypes.cast(inputs.data, ctypes.POINTER(ctypes.c_float))
            watch(name, np.ctypeslib.as_array(data, (inputs.ne[1], inputs.ne[0])))
        return True

    def logits(self, context, window, vocab):
        """float32 [tokens, vocab], valid until the next call."""
        import numpy as np
        lib = self.lib
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        batch = lib.llama_batch_init(len(window), 0, 1)
        batch.n_tokens = len(window)
        for i, token in enumerate(window):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = int(token), i, 1, 0, 1
        code = lib.llama_decode(context, batch)
        lib.llama_batch_free(batch)
        if code != 0:
            die("llama.cpp could not decode a window (%s)" % self.log.name)
        return np.ctypeslib.as_array(lib.llama_get_logits(context), (len(window), vocab))


def measure_importance(llama, source, rows, vocab, threads):
    """Mean of squares of each input of each matrix of the layers: name -> float32 [cols]."""
    import numpy as np
    sums, counts = {}, collections.Counter()

    def watch(name, x):
        if name.startswith("blk."):
            sums[name] = sums.get(name, 0) + np.square(x, dtype=np.float64).sum(axis=0)
            counts[name] += len(x)

    context = llama.open(source, len(rows[0]), threads, watch)
    for row in rows:
        llama.logits(context, row, vocab)
    llama.lib.llama_free(context)
    if set(counts.values()) != {len(rows) * len(rows[0])}:
        die("llama.cpp showed %s tokens of its matrices, not %d" % (sorted(set(counts.values())), len(rows) * len(rows[0])))
    return {name: (sums[name] / counts[name]).astype(np.float32) for name in sums}


def eval_llama(llama, path, windows, vocab, threads):
    """Loss of the file over the windows, computed by llama.cpp."""
    import numpy as np
    context = llama.open(path, len(windows[0]), threads)
    loss = targets = 0
    for window in windows:
        x = llama.logits(context, window, vocab)[:-1].astype(np.float64)
        x -= x.max(axis=1, keepdims=True)
        loss += (np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(x)), window[1:]]).sum()
        targets += len(x)
    return {"loss": float(loss / targets), "perplexity": math.exp(loss / targets), "tokens": targets}


# ------------------------------------------------------------------- all of it

def shared_inputs(args, llama, rows, vocab):
    """The source file and its importance, made once for all types."""
    import numpy as np
    work = args.work or os.path.dirname(os.path.abspath(args.out))
    os.makedirs(work, exist_ok=True)
    source = os.path.join(work, "source.gguf")
    saved = os.path.join(work, "importance-%dx%d.npz" % (len(rows), len(rows[0])))
    seconds = 0.0
    if not os.path.isfile(source):
        write_source(args.model, source + ".part")
        os.rename(source + ".part", source)
    if args.imatrix and not os.path.isfile(saved):
        say("importance of inputs, %d sequences of %d tokens" % (len(rows), len(rows[0])))
        start = time.perf_counter()
        values = measure_importance(llama, source, rows, vocab, args.threads)
        seconds = time.perf_counter() - start
        np.savez(saved + ".part.npz", seconds=np.float64(seconds), **values)
        os.rename(saved + ".part.npz", saved)
    if not args.imatrix:
        return source, None, 0.0
    with np.load(saved) as f:
        return source, {name: f[name] for name in f.files if name != "seconds"}, float(f["seconds"])


def make_folder(args, path, plain, types):
    """The Hugging Face folder args.out of a float32 GGUF file; returns matrices of each type, weights and bytes at `path`."""
    import numpy as np
    from exl3_to_hf import read
    from gguf_to_hf import Gguf, rope_rows
    from safetensors.numpy import save_file
    g = Gguf(plain)
    names = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
             "output.weight": "lm_head.weight"}
    tensors = {}
    for name in g.tensors:
        x = g.tensor(name)
        if name in names:
            tensors[names[name]] = x
            continue
        _, layer, role, _ = name.split(".")
        heads = {"attn_q": g.meta["llama.attention.head_count"], "attn_k": g.meta["llama.attention.head_count_kv"]}.get(role)
        x = rope_rows(x, heads) if heads else x
        tensors["model.layers.%s.%s.weight" % (layer, {**MATRICES, **NORMS}[role])] = np.ascontiguousarray(x)
    missing = set(read(args.model)) ^ set(tensors)
    if missing:
        die("tensors of MODEL and of the file differ: " + ", ".join(sorted(missing)[:3]))
    shutil.rmtree(args.out, ignore_errors=True)
    os.makedirs(args.out)
    save_file(tensors, os.path.join(args.out, "model.safetensors"), {"format": "pt"})
    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.pop("dtype", None)
    config["torch_dtype"] = "float32"
    with open(os.path.join(args.out, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)
    counts, weights = collections.Counter(), 0
    stored = Gguf(path)
    for name, (dims, kind, _) in stored.tensors.items():
        weights += math.prod(dims)
        if len(dims) > 1:
            counts["embedding " * (name == "token_embd.weight") + "head " * (name == "output.weight") + types[kind]] += 1
    return dict(counts), weights, len(stored.buf) - min(at for _, _, at in stored.tensors.values())


def main():
    args = parse_args()
    check(args)
    with open(os.path.join(args.model, "config.json"), encoding="utf-8") as f:
        vocab = int(json.load(f)["vocab_size"])
    rows = take_windows(args.calib, vocab, args.seqs, args.seqlen)
    windows = take_windows(args.tokens, vocab, args.eval_seqs, args.eval_seqlen)
    with open(args.out + ".log", "w", encoding="utf-8") as log:
        llama = Llama(log)
        source, importance, seconds = shared_inputs(args, llama, rows, vocab)
        path = args.out + ".gguf"
        say("quantizing to " + args.type)
        start = time.perf_counter()
        settings = {"nthread": args.threads, "pure": args.pure}
        if args.token_embedding_type:
            settings["token_embedding_type"] = llama.constant("GGML_TYPE_", args.token_embedding_type)
        llama.quantize(source, path, llama.constant("LLAMA_FTYPE_MOSTLY_", args.type), settings, importance)
        quantizing = time.perf_counter() - start
        plain = args.out + ".float32.gguf"
        llama.quantize(path, plain, llama.lib.LLAMA_FTYPE_ALL_F32, {"allow_requantize": True})
        types, weights, stored = make_folder(args, path, plain, llama.types())
        os.remove(plain)
        figures = {"model": args.model, "type": args.type, "settings": vars(args),
                   "types": ", ".join("%s %d" % t for t in sorted(types.items())), "weights": weights, "tensor_bytes": stored,
                   "file_bytes": os.path.getsize(path), "bits_per_weight": 8 * stored / weights,
                   "seconds": seconds + quantizing, "importance_seconds": seconds, "quantize_seconds": quantizing,
                   "calibration_tokens": len(rows) * args.seqlen if args.imatrix else 0,
                   "versions": {p: version(p) for p in ("llama-cpp-python", "gguf", "numpy")}}
        say("evaluating with shardbits, then with llama.cpp, %d sequences of %d tokens" % (len(windows), args.eval_seqlen))
        ours = eval_shardbits(args, args.out)
        theirs = eval_llama(llama, path, windows, vocab, args.threads)
    figures.update({key: ours[key] for key in ("loss", "perplexity", "mean_kl", "top1_agreement", "tokens")}, **{"llama_" + key: value for key, value in theirs.items()})
    if ours["tokens"] != theirs["tokens"] or abs(ours["loss"] - theirs["loss"]) > AGREEMENT * max(1.0, theirs["loss"]):
        die("the two evaluations disagree: loss %.6f over %d tokens in shardbits, %.6f over %d in llama.cpp"
            % (ours["loss"], ours["tokens"], theirs["loss"], theirs["tokens"]))
    with open(args.json, "w", encoding="utf-8") as f:
        json.dump(figures, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    run(main)
