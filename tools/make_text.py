#!/usr/bin/env python3
"""Make the plain text files behind data/ out of three unpacked Debian packages.

  novels    r-cran-janeaustenr: Jane Austen's six novels, one file each.  The
            package keeps them in R's lazy-load format (Rdata.rdb, Rdata.rdx),
            which is read here directly; R is not needed.
  jargon    jargon-text: prose of the Jargon File (jargon.txt.gz).
  handbook  debian-handbook: prose of The Debian Administrator's Handbook (the
            folder html/en-US).

Needs the Python standard library only.
"""
import argparse
import gzip
import html.parser
import os
import re
import struct
import sys
import zlib

NOVELS = ["sensesensibility", "prideprejudice", "mansfieldpark", "emma",
          "northangerabbey", "persuasion"]


class RReader:
    """Just enough of R's XDR serialization (format 'X', version 2 or 3)."""

    def __init__(self, buf):
        if buf[:2] != b"X\n":
            raise ValueError("not an XDR-serialized R object")
        self.buf, self.pos, self.refs = buf, 2, []
        version = self.int()
        self.pos += 8
        if version == 3:
            n = self.int()
            self.pos += n                               # name of the native encoding

    def int(self):
        v = struct.unpack_from(">i", self.buf, self.pos)[0]
        self.pos += 4
        return v

    def item(self):
        flags = self.int()
        kind = flags & 0xFF
        if kind in (254, 253, 242, 241, 251, 252):      # NULL and other markers
            return None
        if kind == 255:                                 # reference
            index = flags >> 8
            return self.refs[(index if index else self.int()) - 1]
        if kind == 1:                                   # symbol
            name = self.item()
            self.refs.append(name)
            return name
        if kind == 2:                                   # pairlist -> list of pairs
            out = []
            while kind == 2:
                if flags & 0x200:
                    self.item()
                tag = self.item() if flags & 0x400 else None
                out.append((tag, self.item()))
                flags = self.int()
                kind = flags & 0xFF
            return out
        if kind == 9:                                   # one string
            n = self.int()
            if n < 0:
                return ""
            raw = self.buf[self.pos:self.pos + n]
            self.pos += n
            return raw.decode("latin-1" if flags & 0x4000 else "utf-8")
        if kind in (10, 13):                            # logical, integer
            n = self.int()
            value = list(struct.unpack_from(">%di" % n, self.buf, self.pos))
            self.pos += 4 * n
        elif kind in (16, 19):                          # strings, generic list
            value = [self.item() for _ in range(self.int())]
        else:
            raise ValueError("R object type %d is not supported" % kind)
        if flags & 0x200:                               # attributes
            attrs = dict(self.item() or [])
            if kind == 19 and "names" in attrs:
                value = dict(zip(attrs["names"], value))
        return value


def paragraphs(lines):
    out, cur = [], []
    for line in lines + [""]:
        line = line.strip()
        if line:
            cur.append(line)
        elif cur:
            out.append(" ".join(cur))
            cur = []
    return "\n\n".join(out) + "\n"


def read_novels(data_dir):
    with open(os.path.join(data_dir, "Rdata.rdx"), "rb") as f:
        index = RReader(zlib.decompress(f.read(), 47)).item()
    with open(os.path.join(data_dir, "Rdata.rdb"), "rb") as f:
        rdb = f.read()
    novels = {}
    for name in NOVELS:
        start, length = index["variables"][name]
        blob = rdb[start:start + length]
        plain = zlib.decompress(blob[4:])               # 4-byte size, then zlib
        novels[name] = paragraphs(RReader(plain).item())
    return novels


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    print("%s: %d bytes" % (path, len(text.encode("utf-8"))))


# ------------------------------------------------------------- the Jargon File

CRUDE = re.compile(r"fuck|shit|\bcunt|\bcock\b|\bpiss|\bnigg|\bwhore|\brape|\btits\b|orgasm|"
                   r"masturb|\bpenis|vagina|\bsex", re.I)


ADDRESS = re.compile(r"://|www\.|\.debian\.|\w@\w")     # paragraphs with addresses are left out


def read_jargon(path, limit):
    """Introduction and glossary: running paragraphs, without crude entries,
    tables, bibliography and the braces around cross-references."""
    with gzip.open(path, "rt", encoding="utf-8") as f:
        text = f.read()
    start = re.search(r"^Chapter 1\. ", text[6000:], re.M)
    end = re.search(r"^ *Appendix A\. ", text[400000:], re.M)
    text = text[6000 + start.start() if start else 0:400000 + end.start() if end else len(text)]
    out = []
    for entry in re.split(r"\n(?=   :[^\n:]+:)", text):
        paras = []
        for p in re.split(r"\n\s*\n", entry):
            lines = p.strip("\n").split("\n")
            one = re.sub(r"[{}]", "", " ".join(" ".join(lines).split()))
            # running text: indented by three, long, mostly letters
            indents = {len(s) - len(s.lstrip()) for s in lines}
            letters = sum(c.isalpha() or c == " " for c in one)
            if indents == {3} and len(one) >= 120 and letters >= 0.9 * len(one) and not ADDRESS.search(one):
                paras.append(one)
        if entry.startswith("   :") and CRUDE.search(entry):
            continue                                    # a crude glossary entry goes whole
        out += [one for one in paras if not CRUDE.search(one)]
    return clip("\n\n".join(out), limit)


def clip(text, limit):
    """At most `limit` bytes, ending with a whole paragraph."""
    raw = text.encode("utf-8")
    if len(raw) + 1 > limit:
        text = raw[:limit - 1].decode("utf-8", "ignore").rsplit("\n\n", 1)[0]
    return text + "\n"


# ----------------------------------------------------------- Debian's handbook

class Page(html.parser.HTMLParser):
    """Collects the text of <div class="para"> without listings."""

    def __init__(self):
        super().__init__()
        self.paras, self.stack, self.skip, self.next = [], [], 0, None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "link" and attrs.get("rel") == "next":
            self.next = attrs.get("href")
        elif tag == "div":
            self.stack.append([] if attrs.get("class") == "para" else None)
        elif tag in ("pre", "table"):
            self.skip += 1

    def handle_endtag(self, tag):
        if tag == "div" and self.stack:
            words = self.stack.pop()
            if words:
                self.paras.append(" ".join("".join(words).split()))
        elif tag in ("pre", "table"):
            self.skip -= 1

    def handle_data(self, data):
        if self.stack and self.stack[-1] is not None and not self.skip:
            self.stack[-1].append(data)


def read_handbook(folder, limit):
    name, seen, out = "index.html", set(), []
    while name and name not in seen and os.path.isfile(os.path.join(folder, name)):
        seen.add(name)
        page = Page()
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            page.feed(f.read())
        if name == "index.html":                        # title page and licence notice
            page.paras = []
        out += [p for p in page.paras if len(p) >= 120 and not p.endswith(":")
                and not ADDRESS.search(p)]
        name = page.next
    if len(seen) < 2:
        raise ValueError("no index.html with the pages that follow it")
    return clip("\n\n".join(dict.fromkeys(out)), limit)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True, metavar="novels|jargon|handbook")
    p = sub.add_parser("novels", help="six .txt files")
    p.add_argument("source", help="the R package's data/ folder")
    p.add_argument("out", help="folder for the six files (made if missing)")
    for name, what in (("jargon", "jargon.txt.gz"), ("handbook", "the folder html/en-US")):
        p = sub.add_parser(name, help="one text file")
        p.add_argument("source", help=what)
        p.add_argument("out", help="text file to write")
        p.add_argument("--limit", type=int, default=10**9, metavar="BYTES",
                       help="stop at the last paragraph that fits")
    args = ap.parse_args()
    try:
        if args.what == "novels":
            novels = read_novels(args.source)
            os.makedirs(args.out, exist_ok=True)
            for name, text in novels.items():
                write(os.path.join(args.out, name + ".txt"), text)
        elif args.what == "jargon":
            write(args.out, read_jargon(args.source, args.limit))
        else:
            write(args.out, read_handbook(args.source, args.limit))
    except OSError as e:
        sys.exit("make_text.py: %s: %s" % (e.filename or args.source, e.strerror or e))
    except (ValueError, KeyError, IndexError, zlib.error, struct.error, EOFError) as e:
        sys.exit("make_text.py: cannot read %s: %s" % (args.source, e))


if __name__ == "__main__":
    main()
