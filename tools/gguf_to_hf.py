#!/usr/bin/env python3
"""Turn a Llama GGUF file into a Hugging Face folder.

Writes config.json, model.safetensors (bfloat16, rounded to nearest even),
tokenizer.json and tokenizer_config.json.  Handles the 'llama' architecture
with plain RoPE, the tensor types F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 and
Q8_0, and GPT-2 style byte-level BPE tokenizers.  Needs numpy only.

The weights are what the GGUF file holds: a quantized file gives dequantized
weights, not the ones the model was published with.
"""
import argparse
import json
import os
import struct
import sys

try:
    import numpy as np
except ImportError:
    np = None


class Bad(Exception):
    pass


# ---------------------------------------------------------------- GGUF reader

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?",
           10: "Q", 11: "q", 12: "d"}
# type number -> (name, elements in a block, bytes in a block)
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
         6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 30: ("BF16", 1, 2)}


class Gguf:
    def __init__(self, path):
        self.buf = np.memmap(path, dtype=np.uint8, mode="r")
        self.pos = 0
        if len(self.buf) < 24 or bytes(self.buf[:4]) != b"GGUF":
            raise Bad("not a GGUF file")
        self.pos = 4
        if self.num("I") not in (2, 3):
            raise Bad("GGUF version is not 2 or 3")
        n_tensors, n_keys = self.num("Q"), self.num("Q")
        self.meta = {}
        for _ in range(n_keys):
            key = self.string()
            self.meta[key] = self.value(self.num("I"))
        infos = []
        for _ in range(n_tensors):
            name = self.string()
            dims = [self.num("Q") for _ in range(self.num("I"))]
            infos.append((name, dims, self.num("I"), self.num("Q")))
        align = self.meta.get("general.alignment", 32)
        base = -(-self.pos // align) * align
        self.tensors = {name: (dims, kind, base + off) for name, dims, kind, off in infos}

    def take(self, n):
        if n > len(self.buf) - self.pos:
            raise Bad("the file is cut short")
        self.pos += n
        return self.buf[self.pos - n:self.pos].tobytes()

    def num(self, fmt):
        return struct.unpack("<" + fmt, self.take(struct.calcsize(fmt)))[0]

    def string(self):
        return self.take(self.num("Q")).decode("utf-8")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            kind, n = self.num("I"), self.num("Q")
            if kind in SCALARS:
                fmt = "<%d%s" % (n, SCALARS[kind])
                return list(struct.unpack(fmt, self.take(struct.calcsize(fmt))))
            return [self.value(kind) for _ in range(n)]
        if kind not in SCALARS:
            raise Bad("unknown metadata type %d" % kind)
        if kind == 6:                       # shortest decimal of the float32
            return float(str(np.float32(self.num("f"))))
        return self.num(SCALARS[kind])

    def tensor(self, name):
        """The tensor as float32, row-major (rows first)."""
        if name not in self.tensors:
            raise Bad("tensor %s is missing" % name)
        dims, kind, off = self.tensors[name]
        if kind not in TYPES:
            raise Bad("tensor %s has type number %d, which is not supported" % (name, kind))
        tname, per, size = TYPES[kind]
        count = int(np.prod(dims, dtype=np.int64))
        if dims[0] % per:
            raise Bad("tensor %s: row length %d is not a multiple of %d" % (name, dims[0], per))
        nbytes = count // per * size
        raw = self.buf[off:off + nbytes]
        if len(raw) < nbytes:
            raise Bad("the file is cut short (tensor %s)" % name)
        return dequantize(tname, raw, size).reshape(dims[::-1])


def dequantize(kind, raw, size):
    if kind == "F32":
        return raw.view("<f4").astype(np.float32)
    if kind == "F16":
        return raw.view("<f2").astype(np.float32)
    if kind == "BF16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    b = raw.reshape(-1, size)

    def half(at):
        return np.ascontiguousarray(b[:, at:at + 2]).view("<f2").astype(np.float32)

    if kind == "Q8_0":
        return half(0) * b[:, 2:].view(np.int8).astype(np.float32)
    has_min = kind in ("Q4_1", "Q5_1")
    at = 4 if has_min else 2
    high = 0
    if kind in ("Q5_0", "Q5_1"):
        bits = np.ascontiguousarray(b[:, at:at + 4]).view("<u4")
        high = ((bits >> np.arange(32, dtype=np.uint32)) & 1).astype(np.int16) << 4
        at += 4
    q = b[:, at:at + 16].astype(np.int16)
    q = np.concatenate([q & 15, q >> 4], axis=1) | high
    if has_min:
        return half(0) * q.astype(np.float32) + half(2)
    return half(0) * (q - (8 if kind == "Q4_0" else 16)).astype(np.float32)


# ------------------------------------------------------------------- writing

def to_bf16(x):
    u = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    if not np.isfinite(x).all():
        raise Bad("a weight is not finite")
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype("<u2")


def write_safetensors(path, tensors):
    header, off = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(t.shape), "data_offsets": [off, off + t.nbytes]}
        off += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.tobytes())


def write_json(path, obj):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(obj, f, indent=2, ensure_ascii=False)
        f.write("\n")


def rope_rows(w, heads):
    """Undo the row order that GGUF keeps for its interleaved RoPE."""
    rows, cols = w.shape
    return w.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def make_config(g):
    m = g.meta
    if m.get("general.architecture") != "llama":
        raise Bad("architecture is %r, not 'llama'" % m.get("general.architecture"))
    if "rope_freqs.weight" in g.tensors or m.get("llama.rope.scaling.type", "none") != "none":
        raise Bad("RoPE scaling in GGUF files is not supported")
    try:
        hidden, heads = m["llama.embedding_length"], m["llama.attention.head_count"]
        cfg = {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": m.get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": m.get("tokenizer.ggml.eos_token_id"),
            "head_dim": m.get("llama.attention.key_length", hidden // heads),
            "hidden_act": "silu",
            "hidden_size": hidden,
            "initializer_range": 0.02,
            "intermediate_size": m["llama.feed_forward_length"],
            "max_position_embeddings": m["llama.context_length"],
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": heads,
            "num_hidden_layers": m["llama.block_count"],
            "num_key_value_heads": m.get("llama.attention.head_count_kv", heads),
            "pad_token_id": m.get("tokenizer.ggml.padding_token_id"),
            "rms_norm_eps": m["llama.attention.layer_norm_rms_epsilon"],
            "rope_scaling": None,
            "rope_theta": m.get("llama.rope.freq_base", 10000.0),
            "tie_word_embeddings": "output.weight" not in g.tensors,
            "torch_dtype": "bfloat16",
            "vocab_size": g.tensors["token_embd.weight"][0][1],
        }
    except KeyError as e:
        raise Bad("%s is missing" % e.args[0])
    return cfg


def convert_weights(g, cfg):
    out = {"model.embed_tokens.weight": to_bf16(g.tensor("token_embd.weight"))}
    parts = [("attn_q", "self_attn.q_proj", cfg["num_attention_heads"]),
             ("attn_k", "self_attn.k_proj", cfg["num_key_value_heads"]),
             ("attn_v", "self_attn.v_proj", 0), ("attn_output", "self_attn.o_proj", 0),
             ("ffn_gate", "mlp.gate_proj", 0), ("ffn_up", "mlp.up_proj", 0),
             ("ffn_down", "mlp.down_proj", 0), ("attn_norm", "input_layernorm", 0),
             ("ffn_norm", "post_attention_layernorm", 0)]
    for i in range(cfg["num_hidden_layers"]):
        for src, dst, heads in parts:
            w = g.tensor("blk.%d.%s.weight" % (i, src))
            out["model.layers.%d.%s.weight" % (i, dst)] = to_bf16(rope_rows(w, heads) if heads else w)
    out["model.norm.weight"] = to_bf16(g.tensor("output_norm.weight"))
    if not cfg["tie_word_embeddings"]:
        out["lm_head.weight"] = to_bf16(g.tensor("output.weight"))
    extra = len(g.tensors) - len(out)
    if extra:
        raise Bad("%d tensors are of no known use (biases? experts?)" % extra)
    return out


def make_tokenizer(g):
    m = g.meta
    if m.get("tokenizer.ggml.model") != "gpt2":
        raise Bad("tokenizer is %r, not 'gpt2' (use --no-tokenizer)" % m.get("tokenizer.ggml.model"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    pre = m.get("tokenizer.ggml.pre", "default")
    if pre in ("smollm", "starcoder", "refact"):        # digits one by one, then GPT-2's split
        pre_tok = {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, byte_level]}
    elif pre in ("gpt-2", "gpt2"):
        pre_tok = byte_level
    else:
        raise Bad("pre-tokenizer %r is not supported (use --no-tokenizer)" % pre)
    tokens = m["tokenizer.ggml.tokens"]
    kinds = m.get("tokenizer.ggml.token_type", [1] * len(tokens))
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": k == 3}
             for i, (t, k) in enumerate(zip(tokens, kinds)) if k in (3, 4)]
    tok = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": pre_tok, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)},
                  "merges": m["tokenizer.ggml.merges"]}}
    conf = {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False,
            "clean_up_tokenization_spaces": False, "model_max_length": m["llama.context_length"]}
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        i = m.get("tokenizer.ggml.%s_token_id" % key)
        if i is not None:
            conf[role + "_token"] = tokens[i]
    if "tokenizer.chat_template" in m:
        conf["chat_template"] = m["tokenizer.chat_template"]
    return tok, conf


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("gguf", help="the GGUF file")
    ap.add_argument("out_dir", help="folder to write (made if missing)")
    ap.add_argument("--no-tokenizer", action="store_true", help="write weights and config.json only")
    args = ap.parse_args()
    if np is None:
        sys.exit("gguf_to_hf.py: needs numpy (pip install numpy)")
    try:
        g = Gguf(args.gguf)
        cfg = make_config(g)
        tok = None if args.no_tokenizer else make_tokenizer(g)
        weights = convert_weights(g, cfg)
        os.makedirs(args.out_dir, exist_ok=True)
        write_safetensors(os.path.join(args.out_dir, "model.safetensors"), weights)
        if tok:
            write_json(os.path.join(args.out_dir, "tokenizer.json"), tok[0])
            write_json(os.path.join(args.out_dir, "tokenizer_config.json"), tok[1])
        write_json(os.path.join(args.out_dir, "config.json"), cfg)
    except OSError as e:
        sys.exit("gguf_to_hf.py: %s: %s" % (e.filename or args.gguf, e.strerror or e))
    except (Bad, UnicodeDecodeError, ValueError, MemoryError) as e:
        sys.exit("gguf_to_hf.py: %s: %s" % (args.gguf, e))
    kinds = sorted({TYPES[k][0] for _, k, _ in g.tensors.values()})
    print("%s: %d tensors (%s) -> bfloat16" % (args.out_dir, len(weights), ", ".join(kinds)))


if __name__ == "__main__":
    main()
