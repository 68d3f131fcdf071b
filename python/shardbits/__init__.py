"""shardbits: models that `shardbits quantize` made, for NumPy, PyTorch and transformers.

    import shardbits
    folder = shardbits.load("out")                       # tensors by name, packed until they are decoded
    y = folder["model.layers.0.mlp.down_proj.weight"].product(x)

    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained("out")  # packed weights in memory, widths mixed block by block

torch and transformers are used where they are installed.
"""
from __future__ import annotations

from ._native import ShardbitsError
from .folder import Folder, Matrix, is_folder, load
from .hooks import when_imported

__all__ = ["Folder", "Matrix", "ShardbitsError", "is_folder", "load", "load_model"]
__version__ = "0.1.0"


def load_model(path, dtype=None, threads: int = 0):
    """A transformers model of the folder, its weights packed. As AutoModelForCausalLM.from_pretrained(path) after
    `import shardbits`, but whatever version of transformers calls it so. `dtype`: of activations, torch.float32 if
    None."""
    from .hf import load_model as build

    return build(path, dtype=dtype, threads=threads)


def _take_over(module) -> None:
    from .hf import take_over

    take_over(module)


when_imported("transformers.models.auto.auto_factory", _take_over)
