"""reseal.py FILE: gives an edited state of a search, of rounding or of training the checksum that fits it."""
import re
import sys

import xxhash

with open(sys.argv[1], "rb") as f:
    text = f.read()
blank = re.sub(rb'"checksum": "[0-9a-f]{16}"\n}\n$', b'"checksum": "' + b"0" * 16 + b'"\n}\n', text)
assert blank != text, "no sealed file"
with open(sys.argv[1], "wb") as f:
    f.write(blank.replace(b'"checksum": "' + b"0" * 16, b'"checksum": "' + xxhash.xxh64_hexdigest(blank).encode()))
