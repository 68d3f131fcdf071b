#!/usr/bin/env python3
"""wide_model.py FOLDER WIDTH: one decoder layer whose MLP has WIDTH channels, random weights, and tokens for it (calib.bin)."""
import array
import json
import os
import random
import struct
import sys

folder, width = sys.argv[1], int(sys.argv[2])
hidden, vocab, heads = 64, 256, 2
config = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden,
    "intermediate_size": width, "max_position_embeddings": 512, "num_attention_heads": heads, "num_hidden_layers": 1,
    "num_key_value_heads": heads, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "torch_dtype": "float32", "vocab_size": vocab}
layer = "model.layers.0."
shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,),
          layer + "input_layernorm.weight": (hidden,), layer + "post_attention_layernorm.weight": (hidden,),
          layer + "mlp.down_proj.weight": (hidden, width)}
for name in "gate", "up":
    shapes[f"{layer}mlp.{name}_proj.weight"] = (width, hidden)
for name in "qkvo":
    shapes[f"{layer}self_attn.{name}_proj.weight"] = (hidden, hidden)

random.seed(1)
header, blobs, at = {}, [], 0
for name, shape in sorted(shapes.items()):
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    spread = shape[-1] ** -0.5
    values = [1.0] * count if "norm" in name else [random.gauss(0, spread) for _ in range(count)]
    blob = array.array("f", values).tobytes()
    header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + len(blob)]}
    blobs.append(blob)
    at += len(blob)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
os.makedirs(folder, exist_ok=True)
with open(os.path.join(folder, "config.json"), "w") as file:
    json.dump(config, file)
with open(os.path.join(folder, "model.safetensors"), "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
with open(os.path.join(folder, "calib.bin"), "wb") as file:
    file.write(array.array("H", [random.randrange(3, vocab) for _ in range(64 * 256)]).tobytes())
