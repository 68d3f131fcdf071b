#!/usr/bin/env python3
"""Turn texts into a file of token ids.

  .jsonl   one JSON object a line: its "text", or with --chat-template a conversation as
           "messages" (role, content), "conversations" (from, value) or "prompt" and "completion"
  others   the whole file is one text

Texts are UTF-8. They are encoded one after the other into one stream, without special tokens
unless an option asks for them. The output is raw little-endian integers, or a one-dimensional
.npy array when the name ends in .npy or --npy is given; "-o -" writes raw ids to stdout.

Needs Python 3.8 and the package tokenizers; --chat-template also needs jinja2. The program
shardbits has this script inside, for text where tokens are expected.
"""
import sys

# As `python -c` the working folder comes first among the modules: nothing of it is wanted here.
sys.path = [p for p in sys.path if p]

import argparse
import array
import json
import os
import struct

PIECE = 4 << 20          # characters of .jsonl that are encoded at a time
MOST = 64 << 20          # bytes of a text that is encoded as a whole: some 150 times that in memory
INSIDE = sys.argv[0] == "-c"


class Failure(Exception):
    pass


def say(kind, text):
    """A line for the program that this script is inside of."""
    if INSIDE:
        sys.stderr.write("%s %s\n" % (kind, text))
        sys.stderr.flush()


# ------------------------------------------------------------- packages

def private_folder():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "shardbits", "python%d.%d" % sys.version_info[:2])


def install(packages):
    """Packages by pip into a folder of their own, which no other program sees."""
    import shutil
    import subprocess
    import tempfile
    folder = private_folder()
    say("note", "%s: pip installs it into %s" % (" and ".join(packages), folder))
    try:
        os.makedirs(folder, exist_ok=True)
        new = tempfile.mkdtemp(prefix="new-", dir=folder)
    except OSError as e:
        raise Failure("%s: %s" % (folder, e.strerror))
    try:
        # tokenizers alone: what it depends on serves downloads of tokenizers
        done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
                               "--disable-pip-version-check", "--target", new, *packages],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            said = done.stdout.decode("utf-8", "replace").split("\n")
            raise Failure([line for line in said if line.strip()][-1].strip())
        for name in os.listdir(new):
            if not os.path.exists(os.path.join(folder, name)):   # another run may have been first
                os.rename(os.path.join(new, name), os.path.join(folder, name))
    finally:
        shutil.rmtree(new, ignore_errors=True)


def load(module, packages, may_install):
    """The module; where it is missing, and pip may install it, from the private folder."""
    import importlib
    try:
        return importlib.import_module(module)
    except ImportError as e:
        reason = str(e)
    if may_install:
        sys.path.append(private_folder())
        try:
            return importlib.import_module(module)
        except ImportError:
            pass
        try:
            install(packages)
            importlib.invalidate_caches()
            return importlib.import_module(module)
        except (Failure, ImportError) as e:
            reason = "pip: %s" % e
    raise Failure("the Python package %s is missing (%s); where pip has a network: %s -m pip install %s"
                  % (packages[0], reason, sys.executable, packages[0]))


# ------------------------------------------------------------- tokenizer

def load_tokenizer(path, vocab, may_install):
    tokenizers = load("tokenizers", ["tokenizers"], may_install)
    if not os.path.isfile(path):
        raise Failure("%s: no such file, and text needs the tokenizer of the model" % path)
    try:
        tokenizer = tokenizers.Tokenizer.from_file(path)
    except Exception as e:                      # the library raises bare Exception
        raise Failure("%s: not a tokenizer: %s" % (path, str(e).split("\n")[0]))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # Added tokens may lie beyond the embedding of a model that does not use them (Gemma 3).
    own = max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1) + 1
    every = max(own, max(tokenizer.get_vocab().values(), default=-1) + 1)
    # Vocabularies are padded, but not to twice their size.
    if vocab and (own > vocab or 2 * every < vocab):
        raise Failure("%s: has %d tokens and the model a vocabulary of %d: it is the tokenizer of "
                      "another model" % (path, own if own > vocab else every, vocab))
    return tokenizer, every


def load_json(path):
    try:
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise Failure("%s: cannot be read: %s" % (path, e))
    if not isinstance(found, dict):
        raise Failure("%s: is no JSON object" % path)
    return found


# ------------------------------------------------------------- chat templates

def template_text(folder, settings):
    """The model's template: of its own file, else of tokenizer_config.json (one, or several with names)."""
    path = os.path.join(folder, "chat_template.jinja")
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as e:
        raise Failure("%s: cannot be read: %s" % (path, e))
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}.get("default")
    if not isinstance(found, str):
        raise Failure("%s: has no chat template (chat_template.jinja, or chat_template in "
                      "tokenizer_config.json)" % folder)
    return found


def plain(token):
    """A token of tokenizer_config.json: its text, or an object that has it."""
    return token.get("content") if isinstance(token, dict) else token


def load_template(folder, settings, may_install):
    """A function from a list of messages to text. Templates come from the network: they run in jinja's sandbox."""
    load("jinja2", ["jinja2", "markupsafe"], may_install)
    import datetime
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """Templates for training mark the model's own words by {% generation %}, which shows nothing."""
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    world = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    world.filters["tojson"] = tojson
    world.globals["raise_exception"] = refuse
    world.globals["strftime_now"] = lambda form: datetime.date(2024, 7, 26).strftime(form)  # the same tokens on any day
    special = {name: plain(token) for name, token in settings.items()
               if name.endswith("_token") and isinstance(plain(token), str)}
    try:
        template = world.from_string(template_text(folder, settings))
    except jinja2.exceptions.TemplateError as e:
        raise Failure("%s: its chat template is not valid: %s" % (folder, e))

    def render(messages):
        try:
            return template.render(messages=messages, tools=None, documents=None,
                                   add_generation_prompt=False, **special)
        except Exception as e:                  # a template may do anything
            raise Failure("the model's chat template refuses it: %s" % str(e).split("\n")[0])
    return render


ROLES = {"human": "user", "gpt": "assistant"}


def messages_of(row):
    """The conversation of a row, in the form that templates expect; None where it has none."""
    if isinstance(row.get("messages"), list):
        return row["messages"]
    if isinstance(row.get("conversations"), list):
        return [{"role": ROLES.get(m["from"], m["from"]), "content": m["value"]} if "from" in m else m
                for m in row["conversations"]]
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    return None


# ------------------------------------------------------------- texts

def text_of(row, render):
    if not isinstance(row, dict):
        raise Failure("is no JSON object")
    messages = messages_of(row)
    if render:
        if messages is None:
            raise Failure("has no conversation (messages, conversations, or prompt and completion); "
                          "leave --chat-template out for rows with a text")
        if not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages):
            raise Failure("has a message without a role")
        return render(messages)
    if isinstance(row.get("text"), str):
        return row["text"]
    if messages is not None:
        raise Failure("has a conversation and no text; --chat-template says how the model reads it")
    has = ", ".join('"%s"' % key for key in list(row)[:5]) if isinstance(row, dict) else "no keys"
    raise Failure('has no "text", which is to be a string, but %s; conversations need --chat-template' % (has or "no keys"))


class Progress:
    def __init__(self, names):
        self.total = sum(os.path.getsize(name) for name in names if os.path.isfile(name))
        self.done = 0

    def add(self, size):
        self.done += size
        if self.total:
            say("progress", "%.4f" % (self.done / self.total))


def rows(name, render, progress):
    """Lists of texts of a .jsonl file, some million characters each."""
    texts, size = [], 0
    with open(name, encoding="utf-8-sig", newline="\n") as f:
        for number, line in enumerate(f, 1):
            if line.strip():
                try:
                    texts.append(text_of(json.loads(line), render))
                except Failure as e:
                    raise Failure("%s: line %d %s" % (name, number, e))
                except json.JSONDecodeError as e:
                    raise Failure("%s: line %d is not JSON: %s at column %d" % (name, number, e.msg.lower(), e.colno))
                except (ValueError, KeyError, RecursionError):
                    raise Failure("%s: line %d is not JSON as it should be" % (name, number))
            size += len(line.encode())
            if size >= PIECE:
                yield texts
                progress.add(size)
                texts, size = [], 0
    yield texts
    progress.add(size)


def whole(name, progress):
    size = os.path.getsize(name)
    if size > MOST:
        raise Failure("%s: has %d MiB, more than the %d MiB that are encoded as one text; divide it into "
                      "files, or write one text a line into a .jsonl file" % (name, size >> 20, MOST >> 20))
    with open(name, encoding="utf-8-sig", newline="") as f:
        yield [f.read()]
    progress.add(size)


def texts_of(names, render):
    progress = Progress(names)
    for name in names:
        try:
            yield from rows(name, render, progress) if name.endswith(".jsonl") else whole(name, progress)
        except OSError as e:
            raise Failure("%s: %s" % (name, e.strerror))
        except UnicodeDecodeError:
            raise Failure("%s: not UTF-8 text" % name)


def encode(args, out):
    """Writes the ids of all texts to the open file `out`: numbers of tokens, texts and characters."""
    for name in args.text if args.chat_template else ():
        if not name.endswith(".jsonl"):
            raise Failure("%s: --chat-template is for .jsonl files with conversations" % name)
    folder = args.model_dir if os.path.isdir(args.model_dir) else os.path.dirname(args.model_dir) or "."
    path = os.path.join(folder, "tokenizer.json") if os.path.isdir(args.model_dir) else args.model_dir
    tokenizer, every = load_tokenizer(path, args.vocab, args.install)
    settings = load_json(os.path.join(folder, "tokenizer_config.json"))
    render = load_template(folder, settings, args.install) if args.chat_template else None
    bos = []
    if args.bos:
        bos = load_json(os.path.join(folder, "config.json")).get("bos_token_id")
        if not isinstance(bos, int):
            raise Failure("--bos: no bos_token_id in config.json beside %s" % path)
        bos = [bos]
    args.dtype = args.dtype if args.dtype != "auto" else "uint16" if max(every, args.vocab) <= 65536 else "uint32"
    limit = min(args.vocab or 1 << 32, 1 << int(args.dtype[4:]))
    tokens = texts = characters = 0
    for batch in texts_of(args.text, render):
        batch = [text for text in batch if text]
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=args.special_tokens):
            ids = bos + encoding.ids
            if ids and max(ids) >= limit:
                raise Failure("token %d (%s) is not among the first %d ids" % (max(ids), tokenizer.id_to_token(max(ids)), limit))
            if args.limit is not None:
                ids = ids[:args.limit - tokens]
            packed = array.array("H" if args.dtype == "uint16" else "I", ids)
            if sys.byteorder != "little":
                packed.byteswap()
            out.write(packed.tobytes())
            tokens += len(ids)
        texts += len(batch)
        characters += sum(map(len, batch))
        if tokens == args.limit:
            break
    if tokens == 0:
        raise Failure("%s: the text gives no tokens" % args.text[0])
    return tokens, texts, characters


# ------------------------------------------------------------- output

def npy_header(dtype, count):
    text = "{'descr': '<u%d', 'fortran_order': False, 'shape': (%d,), }" % (int(dtype[4:]) // 8, count)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(117).encode() + b"\n"


def write_file(args):
    tmp = "%s.partial-%d" % (args.output, os.getpid())
    is_npy = args.npy or args.output.endswith(".npy")
    try:
        with open(tmp, "wb") as f:
            if is_npy:
                f.write(npy_header("uint32", 0))
            counts = encode(args, f)
            if is_npy:
                f.seek(0)
                f.write(npy_header(args.dtype, counts[0]))
        os.replace(tmp, args.output)
    except OSError as e:
        raise Failure("%s: %s" % (args.output, e.strerror))
    finally:
        if os.path.exists(tmp):
            os.unlink(tmp)
    print("%s: %d tokens, %s (%.2f characters a token)" % (args.output, counts[0], args.dtype, counts[2] / counts[0]))


def die_with_parent():
    """The program may be killed while the tokenizer works and writes nothing."""
    try:
        import ctypes
        ctypes.CDLL(None).prctl(1, 9)           # PR_SET_PDEATHSIG, SIGKILL
    except (OSError, AttributeError, ImportError):
        pass


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model_dir", help="Hugging Face folder with tokenizer.json (or that file itself)")
    ap.add_argument("text", nargs="+", help="UTF-8 text files")
    ap.add_argument("-o", "--output", required=True, help="file to write")
    ap.add_argument("--dtype", choices=["uint16", "uint32", "auto"], default="auto",
                    help="auto: uint16 when the vocabulary has at most 65536 entries (default)")
    ap.add_argument("--npy", action="store_true", help="write a .npy array")
    ap.add_argument("--chat-template", action="store_true", help="conversations, as the model's template writes them")
    ap.add_argument("--special-tokens", action="store_true",
                    help="with the special tokens that the tokenizer puts around a text")
    ap.add_argument("--bos", action="store_true",
                    help="put the model's bos token (config.json) before each text")
    ap.add_argument("--limit", type=int, metavar="N", help="keep the first N tokens only")
    ap.add_argument("--vocab", type=int, default=0, metavar="N", help="refuse a tokenizer that a model of N ids cannot have")
    ap.add_argument("--install", action="store_true",
                    help="let pip install what is missing into %s" % private_folder().replace("%", "%%"))
    args = ap.parse_args()
    if args.limit is not None and args.limit < 1:
        raise Failure("--limit must be at least 1")
    if args.output != "-":
        return write_file(args)
    if INSIDE:
        die_with_parent()
    counts = encode(args, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    say("done", "%d %d %d" % counts)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:                     # whoever reads has ended
        os._exit(1)
    except Failure as e:
        if INSIDE:
            say("error", str(e))
            sys.exit(1)
        sys.exit("make_tokens.py: %s" % e)
