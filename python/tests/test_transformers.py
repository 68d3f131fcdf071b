"""Output folders as transformers models: perplexity as `shardbits eval` has it, memory, greedy text, torch.compile.

    test_transformers.py SHARDBITS OUT EXPORTED TOKENS

OUT is an output folder, EXPORTED what `export --dtype f32` made of it. Needs torch and transformers.
"""
import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from compare import take_windows  # noqa: E402

import shardbits  # noqa: E402  before transformers: it waits for it
import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

PROGRAM = OUT = EXPORTED = TOKENS = ""
SEQS, SEQLEN = 8, 256


def perplexity(model, windows):
    total = count = 0
    with torch.no_grad():
        for window in windows:
            ids = torch.from_numpy(window)
            loss = torch.nn.functional.cross_entropy(model(ids[None], use_cache=False).logits[0, :-1].float(), ids[1:], reduction="none")
            total, count = total + loss.double().sum().item(), count + len(loss)
    return math.exp(total / count)


class Models(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = AutoModelForCausalLM.from_pretrained(OUT)
        cls.windows = take_windows(TOKENS, cls.model.config.vocab_size, SEQS, SEQLEN)

    def test_perplexity(self):
        with tempfile.TemporaryDirectory() as d:
            subprocess.run([PROGRAM, "eval", OUT, "--tokens", TOKENS, "--seqs", str(SEQS), "--seqlen", str(SEQLEN), "--quiet",
                            "--json", d + "/eval.json"], check=True, stdout=subprocess.DEVNULL)
            want = json.loads(Path(d + "/eval.json").read_text())["perplexity"]
        got = perplexity(self.model, self.windows)
        print(f"perplexity {got:.6f}, shardbits eval {want:.6f}")
        self.assertLess(abs(got / want - 1), 5e-5)  # four digits

    def test_logits(self):
        dense = AutoModelForCausalLM.from_pretrained(EXPORTED, dtype=torch.float32)
        ids = torch.from_numpy(self.windows[0])[None]
        with torch.no_grad():
            a, b = self.model(ids).logits, dense(ids).logits
            # sums of float32 in another order, through all layers
            self.assertLess((a - b).abs().max().item(), 1e-3 * b.abs().max().item())
            # a token at a time, with a cache
            more = self.model.generate(ids[:, :16], max_new_tokens=8, do_sample=False, pad_token_id=0)
            same = dense.generate(ids[:, :16], max_new_tokens=8, do_sample=False, pad_token_id=0)
        self.assertEqual(more.tolist(), same.tolist())

    def test_memory(self):
        packed = sum(m.matrix.packed_bytes for m in {id(m.matrix): m for m in self.model.modules() if hasattr(m, "matrix")}.values())
        other = sum(p.numel() * p.element_size() for p in self.model.parameters())
        folder = shardbits.load(OUT)
        bf16 = sum(2 * math.prod(e["shape"]) for e in folder.entries if e["kind"] != "order")
        print(f"weights {(packed + other) / 2**20:.2f} MiB, in bf16 {bf16 / 2**20:.2f} MiB")
        self.assertLess(packed + other, bf16 / 3)

    def test_compile(self):
        layer = next(m for m in self.model.modules() if type(m).__name__ == "PackedLinear")
        x = torch.randn(2, 3, layer.in_features)
        fast = torch.compile(layer, backend="eager", fullgraph=True)
        torch.testing.assert_close(fast(x), layer(x), rtol=0, atol=0)

    def test_types(self):
        model = shardbits.load_model(OUT, dtype=torch.bfloat16)
        self.assertEqual(model(torch.from_numpy(self.windows[0])[None, :4]).logits.dtype, torch.bfloat16)
        torch.library.opcheck(torch.ops.shardbits.product, (torch.randn(2, layer_of(model).in_features), layer_of(model).number,
                                                            layer_of(model).out_features), test_utils=("test_schema", "test_faketensor"))

    def test_decoded(self):
        """What the plugin of vLLM hands over."""
        from safetensors.torch import load_file
        from shardbits.vllm import weights_of

        want = {k: v for f in Path(EXPORTED).glob("*.safetensors") for k, v in load_file(f).items()}
        got = dict(weights_of(OUT, torch.float32))
        self.assertEqual(set(got), set(want))
        self.assertTrue(all(torch.equal(got[k], want[k]) for k in want))

    def test_refusals(self):
        with self.assertRaisesRegex(shardbits.ShardbitsError, "load_in_8bit"):
            AutoModelForCausalLM.from_pretrained(OUT, load_in_8bit=True)
        with self.assertRaisesRegex(shardbits.ShardbitsError, "processor"):
            AutoModelForCausalLM.from_pretrained(OUT, device_map="cuda")


def layer_of(model):
    return next(m for m in model.modules() if type(m).__name__ == "PackedLinear")


if __name__ == "__main__":
    PROGRAM, OUT, EXPORTED, TOKENS = sys.argv[1:5]
    if len(sys.argv) > 5:
        SEQS, SEQLEN = map(int, sys.argv[5:7])
    np.random.seed(0)
    unittest.main(argv=sys.argv[:1])
