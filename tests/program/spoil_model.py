"""Changes a Hugging Face folder in place for tests of odd folders: spoil_model.py FOLDER WHAT ...

  split              two shards with their index, in place of one file
  rename OLD NEW     a prefix of tensor names
  move OLD NEW       one tensor's name
  add NAME TYPE N    N elements of TYPE, all bytes 0; after it "+" and a number: that byte instead
  copy FROM TO       a tensor once more under another name
  change NAME        one more in the first byte of a tensor's data
  drop NAME          a tensor away
  layers N           only the first N layers stay, also in config.json
  fill NAME I N X    elements I .. I + N - 1 of a BF16 tensor become X
  set KEY JSON       in config.json, as text
  stale NAME FILE    an entry of the index
Standard library only."""
import json
import os
import struct
import sys

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "C64": 8, "U8": 1}


def load(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    return {k: [t["dtype"], t["shape"], raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]]
            for k, t in header.items() if k != "__metadata__"}


def save(path, tensors):
    header, at = {"__metadata__": None}, 0
    for k, (dtype, shape, data) in tensors.items():
        header[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def split(folder, single):
    tensors, where = load(single), {}
    names = sorted(tensors)
    for i in range(2):
        part = names[len(names) * i // 2:len(names) * (i + 1) // 2]
        name = "model-%05d-of-00002.safetensors" % (i + 1)
        save(os.path.join(folder, name), {n: tensors[n] for n in part})
        where.update({n: name for n in part})
    os.unlink(single)
    json.dump({"metadata": {}, "weight_map": where}, open(single + ".index.json", "w"))


def main():
    folder, what, args = sys.argv[1], sys.argv[2], sys.argv[3:]
    single = os.path.join(folder, "model.safetensors")
    if what == "split":
        return split(folder, single)
    if what == "set":
        path = os.path.join(folder, "config.json")
        config = json.load(open(path))
        config.pop(args[0], None)
        text = json.dumps(config)
        return open(path, "w").write('{"%s": %s, %s' % (args[0], args[1], text[1:])) and None
    if what == "stale":
        index = json.load(open(single + ".index.json"))
        index["weight_map"][args[0]] = args[1]
        return json.dump(index, open(single + ".index.json", "w"))
    file = single
    if args and args[-1].endswith(".safetensors"):
        file = os.path.join(folder, args.pop())
    t = load(file)
    if what == "rename":
        t = {(args[1] + k[len(args[0]):] if k.startswith(args[0]) else k): v for k, v in t.items()}
    elif what == "move":
        t[args[1]] = t.pop(args[0])
    elif what == "add":
        count, _, byte = args[2].partition("+")
        data = bytearray(int(count) * SIZES[args[1]])
        if byte:
            data[-1] = int(byte)
        t[args[0]] = [args[1], [int(count)], bytes(data)]
    elif what == "copy":
        t[args[1]] = list(t[args[0]])
    elif what == "change":
        data = bytearray(t[args[0]][2])
        data[0] ^= 1
        t[args[0]][2] = bytes(data)
    elif what == "layers":
        t = {k: v for k, v in t.items() if not k.startswith("model.layers.") or int(k.split(".")[2]) < int(args[0])}
        path = os.path.join(folder, "config.json")
        config = json.load(open(path))
        config["num_hidden_layers"] = int(args[0])
        json.dump(config, open(path, "w"))
    elif what == "fill":
        first, count = int(args[1]), int(args[2])
        assert t[args[0]][0] == "BF16" and 0 < count and 2 * (first + count) <= len(t[args[0]][2])
        half = struct.pack("<f", float(args[3]))[2:]
        data = t[args[0]][2]
        t[args[0]][2] = data[:2 * first] + half * count + data[2 * (first + count):]
    elif what == "drop":
        del t[args[0]]
    save(file, t)


if __name__ == "__main__":
    main()
