#!/usr/bin/env python3
"""Read Jane Austen's six novels out of the R package `janeaustenr`.

The package (Debian: r-cran-janeaustenr) keeps each novel as a character
vector of lines in R's lazy-load files data/Rdata.rdb + data/Rdata.rdx.  This
script reads that format directly, so R itself is not needed, joins the lines
into paragraphs and writes one plain UTF-8 text file per novel.
"""
import argparse
import os
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


def main():
    ap = argparse.ArgumentParser(description=__doc__.strip().split("\n\n")[0],
                                 epilog=__doc__.strip().split("\n\n")[1])
    ap.add_argument("data_dir", help="the R package's data/ folder (holds Rdata.rdb and Rdata.rdx)")
    ap.add_argument("out_dir", help="folder for the six .txt files (made if missing)")
    args = ap.parse_args()
    try:
        novels = read_novels(args.data_dir)
        os.makedirs(args.out_dir, exist_ok=True)
        for name, text in novels.items():
            with open(os.path.join(args.out_dir, name + ".txt"), "w", encoding="utf-8") as f:
                f.write(text)
            print("%s.txt: %d characters" % (name, len(text)))
    except (OSError, ValueError, KeyError, zlib.error, struct.error) as e:
        sys.exit("austen_text.py: cannot read the novels in %s: %s" % (args.data_dir, e))


if __name__ == "__main__":
    main()
