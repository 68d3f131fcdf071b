"""The package without torch: folders against what `shardbits export --dtype f32` makes of them.

    test_numpy.py SHARDBITS MODEL TOKENS

MODEL is a Hugging Face folder. Matrices must be equal bit for bit; products within rounding of float32 (below).
"""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from exl3_to_hf import read  # noqa: E402  safetensors, by numpy alone

import shardbits  # noqa: E402

PROGRAM, MODEL = "", ""
KINDS = {
    "grid": ["--bits", "3.4", "--max-bits", "8"],
    "grid, one bit": ["--bits", "1.6", "--max-bits", "1", "--block", "128x64"],
    "symmetric": ["--bits", "3.4", "--symmetric"],
    "signed, 8 bits of scale": ["--bits", "3.4", "--grid-kind", "signed", "--scale-type", "bf16"],
    "scales of 6 bits": ["--bits", "3.4", "--scale-type", "6bit", "--embed-bits", "4"],
    "by width": ["--bits", "2.4", "--grid-kind", "by-width"],
    "tables": ["--bits", "4.4", "--embed-bits", "5"],
    "trellis": ["--bits", "2.2", "--codes", "trellis"],
    "exl3": ["--bits", "3.2", "--widths-for", "exl3"],
}


def run(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments), "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError(f"shardbits {' '.join(map(str, arguments))}: {done.stdout}")


class Folders(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.dir = Path(cls.temporary.name)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def quantized(self, *options):
        out = self.dir / "out"
        run("quantize", MODEL, "--method", "rtn", *options, "-o", out, "--overwrite")
        run("export", out, "-o", self.dir / "floats", "--dtype", "f32", "--overwrite")
        return out, {name: data for name, (_, data) in read(str(self.dir / "floats")).items()}

    def test_kinds(self):
        model = read(MODEL)
        wide = all(n % 128 == 0 for name, (_, d) in model.items() if ".layers." in name and d.ndim == 2 for n in d.shape)
        for kind, options in KINDS.items():
            if kind == "exl3" and not wide:
                continue
            with self.subTest(kind):
                out, floats = self.quantized(*options)
                folder = shardbits.load(out)
                self.assertEqual(set(folder), set(floats))
                for name, want in floats.items():
                    np.testing.assert_array_equal(folder.dense(name), want, name)
                self.check_products(folder, floats)

    def check_products(self, folder, floats):
        rng = np.random.default_rng(0)
        for name in floats:
            if not folder.is_quantized(name):
                continue
            matrix, w = folder[name], floats[name].astype(np.float64)
            for shape in ((), (1,), (2, 3)):
                x = rng.standard_normal((*shape, w.shape[1])).astype(np.float32)
                want = x @ w.T
                # 30 roundings of float32 to the sum of magnitudes; transforms of trellises spread them over a block
                bound = 30 * 2.0**-24 * (np.abs(x) @ (np.abs(w) + np.abs(w).max()).T)
                np.testing.assert_array_less(np.abs(matrix.product(x) - want), bound + 1e-30, name)
            if "embed" in name:
                ids = np.array([[0, 5], [len(w) - 1, 7]])
                np.testing.assert_array_equal(matrix.rows(ids), floats[name][ids])
                with self.assertRaises(IndexError):
                    matrix.rows(np.array([len(w)]))

    def test_orders(self):
        tokens = os.environ["SHARDBITS_TOKENS"]
        out = self.dir / "ordered"
        run("quantize", MODEL, "--calib", tokens, "--seqs", 2, "--seqlen", 32, "--method", "table", "--bits", "3.6", "--reorder",
            "indexed", "--quantizer", "rtn", "--tune-seqs", 0, "-o", out, "--overwrite")
        run("export", out, "-o", self.dir / "floats", "--dtype", "f32", "--overwrite")
        floats = {name: data for name, (_, data) in read(str(self.dir / "floats")).items()}
        folder = shardbits.load(out)
        self.assertTrue(any(folder[n].col_order is not None for n in folder if folder.is_quantized(n)))
        for name, want in floats.items():
            np.testing.assert_array_equal(folder.dense(name), want, name)
        self.check_products(folder, floats)

    def test_widths(self):
        out, _ = self.quantized("--bits", "3.4")
        folder = shardbits.load(out)
        matrix = next(folder[n] for n in folder if folder.is_quantized(n))
        self.assertEqual(set(np.unique(matrix.widths)), {3})
        self.assertGreater(matrix.packed_bytes, matrix.shape[0] * matrix.shape[1] * 3 / 8)

    def test_refusals(self):
        out, _ = self.quantized("--bits", "3.4")
        with self.assertRaises(FileNotFoundError):
            shardbits.load(self.dir / "nowhere")
        self.assertFalse(shardbits.is_folder(self.dir / "floats"))
        folder = shardbits.load(out)
        matrix = next(folder[n] for n in folder if folder.is_quantized(n))
        with self.assertRaises(ValueError):
            matrix.product(np.zeros(matrix.shape[1] + 1, np.float32))
        shard = next(Path(out).glob("*.shard*"), None) or next(p for p in Path(out).iterdir() if p.suffix not in (".json",))
        data = bytearray(shard.read_bytes())
        data[len(data) // 3] ^= 0x10
        shard.write_bytes(data)
        with self.assertRaises(shardbits.ShardbitsError) as caught:
            damaged = shardbits.load(out)
            for name in damaged:
                damaged.dense(name)
        self.assertIn(shard.name, str(caught.exception))


if __name__ == "__main__":
    PROGRAM, MODEL = sys.argv[1:3]
    os.environ["SHARDBITS_TOKENS"] = sys.argv[3]
    unittest.main(argv=sys.argv[:1])
