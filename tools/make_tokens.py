#!/usr/bin/env python3
"""Turn text files into a file of token ids.

The texts are encoded one after the other into one stream, without special
tokens.  The output is raw little-endian integers, or a one-dimensional .npy
array when the name ends in .npy or --npy is given.  Needs numpy and
tokenizers (requirements.txt).
"""
import argparse
import json
import os
import sys


def die(msg):
    sys.exit("make_tokens.py: " + msg)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model_dir", help="Hugging Face folder with tokenizer.json (or that file itself)")
    ap.add_argument("text", nargs="+", help="UTF-8 text files")
    ap.add_argument("-o", "--output", required=True, help="file to write")
    ap.add_argument("--dtype", choices=["uint16", "uint32", "auto"], default="auto",
                    help="auto: uint16 when the vocabulary has at most 65536 entries (default)")
    ap.add_argument("--npy", action="store_true", help="write a .npy array")
    ap.add_argument("--bos", action="store_true",
                    help="put the model's bos token (config.json) before each text")
    ap.add_argument("--limit", type=int, metavar="N", help="keep the first N tokens only")
    args = ap.parse_args()
    try:
        import numpy as np
        from tokenizers import Tokenizer
    except ImportError as e:
        die("%s (pip install -r tools/requirements.txt)" % e)
    path = args.model_dir
    if os.path.isdir(path):
        path = os.path.join(path, "tokenizer.json")
    if not os.path.isfile(path):
        die("%s: no such file" % path)
    try:
        tok = Tokenizer.from_file(path)
    except Exception as e:                      # the library raises bare Exception
        die("%s: not a tokenizer: %s" % (path, str(e).splitlines()[0]))
    tok.no_padding()
    tok.no_truncation()
    bos = []
    if args.bos:
        try:
            with open(os.path.join(os.path.dirname(path), "config.json"), encoding="utf-8") as f:
                bos = [int(json.load(f)["bos_token_id"])]
        except (OSError, ValueError, KeyError, TypeError):
            die("--bos: no bos_token_id in config.json beside %s" % path)
    vocab = max(tok.get_vocab().values()) + 1
    dtype = args.dtype
    if dtype == "auto":
        dtype = "uint16" if vocab <= 65536 else "uint32"
    ids, chars = [], 0
    for name in args.text:
        try:
            with open(name, encoding="utf-8", newline="") as f:
                text = f.read()
        except OSError as e:
            die("%s: %s" % (name, e.strerror))
        except UnicodeDecodeError:
            die("%s: not UTF-8 text" % name)
        chars += len(text)
        ids += bos + tok.encode(text, add_special_tokens=False).ids
    if not ids:
        die("the text gives no tokens")
    total = len(ids)
    if args.limit is not None:
        if args.limit < 1:
            die("--limit must be at least 1")
        ids = ids[:args.limit]
    if max(ids) > np.iinfo(dtype).max:
        die("token %d does not fit %s" % (max(ids), dtype))
    arr = np.array(ids, dtype=np.dtype(dtype).newbyteorder("<"))
    tmp = "%s.partial-%d" % (args.output, os.getpid())
    try:
        with open(tmp, "wb") as f:
            if args.npy or args.output.endswith(".npy"):
                np.save(f, arr)
            else:
                f.write(arr.tobytes())
        os.replace(tmp, args.output)
    except OSError as e:
        if os.path.exists(tmp):
            os.unlink(tmp)
        die("%s: %s" % (args.output, e.strerror))
    print("%s: %d tokens, %s (%.2f characters a token)" % (args.output, len(arr), dtype, chars / total))


if __name__ == "__main__":
    main()
