"""transformers models of output folders: the network that config.json names, with packed weights."""
from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ._native import ShardbitsError
from .folder import Folder, Matrix, is_folder
from .nn import PackedEmbedding, PackedLinear

# Arguments of from_pretrained that say nothing here, or what is so in any case.
_HARMLESS = {"low_cpu_mem_usage", "local_files_only", "use_safetensors", "trust_remote_code", "revision", "attn_implementation",
             "token", "cache_dir"}


def _empty_network(config: Any):
    """The network without memory for its weights, but with all that is computed from `config`."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, module in list(network.named_modules()):
        buffers = [b for b in module.buffers(recurse=False) if b.is_meta]
        if not buffers:
            continue
        try:  # rotary embeddings: made again, where they have memory
            fresh = type(module)(config=config)
        except TypeError as error:
            raise ShardbitsError(f"{name} ({type(module).__name__}) has buffers that cannot be made from a configuration") from error
        _set(network, name, fresh)
    return network


def _set(network: torch.nn.Module, name: str, module: torch.nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)


def _place(network: torch.nn.Module, name: str, tensor: Matrix | np.ndarray, dtype: torch.dtype) -> None:
    """Puts a tensor of the folder where the network has it."""
    module_name, _, leaf = name.rpartition(".")
    module = network.get_submodule(module_name)
    if isinstance(tensor, Matrix):
        if isinstance(module, torch.nn.Embedding):
            packed: torch.nn.Module = PackedEmbedding(tensor, dtype)
        elif isinstance(module, torch.nn.Linear):
            packed = PackedLinear(tensor)
            packed.bias = module.bias
        else:
            raise ShardbitsError(f"{name} is quantized, and {type(module).__name__} has no packed form here")
        _set(network, module_name, packed)
        return
    setattr(module, leaf, torch.nn.Parameter(torch.from_numpy(tensor).to(dtype), requires_grad=False))


def load_model(path: str | Path, dtype: torch.dtype | str | None = None, threads: int = 0):
    """A model in evaluation mode, on the processor. Weights stay packed; activations, norms and what is not quantized
    have `dtype`, torch.float32 if None or "auto"."""
    from transformers import AutoConfig, GenerationConfig

    folder = Folder(path, threads)
    dtype = torch.float32 if dtype in (None, "auto") else getattr(torch, dtype) if isinstance(dtype, str) else dtype
    config = AutoConfig.from_pretrained(path)
    network = _empty_network(config)
    for name in folder:
        _place(network, name, folder[name], dtype)
    head = network.get_output_embeddings()
    if config.tie_word_embeddings and head is not None:
        _tie(network, head)
    missing = [n for n, p in network.named_parameters() if p.is_meta]
    if missing:
        raise ShardbitsError(f"{path}: {missing[0]} is not in the folder, and the network has it ({type(network).__name__})")
    network.config.dtype = dtype
    if (Path(path) / "generation_config.json").is_file():
        network.generation_config = GenerationConfig.from_pretrained(path)
    return network.eval()


def _tie(network: torch.nn.Module, head: torch.nn.Module) -> None:
    """The head multiplies with the embedding's own weights."""
    table = network.get_input_embeddings()
    name = next(n for n, m in network.named_modules() if m is head)
    if isinstance(table, PackedEmbedding):
        _set(network, name, PackedLinear(table.matrix))
    else:
        head.weight = table.weight


def take_over(auto_factory) -> None:
    """Lets from_pretrained of the Auto classes know output folders. Called once, with transformers' module."""
    base = auto_factory._BaseAutoModelClass
    original = base.from_pretrained.__func__
    if getattr(original, "_knows_shardbits", False):
        return

    @functools.wraps(original)
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        path = pretrained_model_name_or_path
        if cls.__name__ != "AutoModelForCausalLM" or not is_folder(path):
            return original(cls, path, *args, **kwargs)
        dtype = kwargs.pop("dtype", kwargs.pop("torch_dtype", None))
        device = kwargs.pop("device_map", None)
        others = set(kwargs) - _HARMLESS
        if others or args:
            raise ShardbitsError(f"{path}: from_pretrained does not take {sorted(others) or 'positional arguments'} for folders of shardbits")
        if device not in (None, "cpu", "auto", {"": "cpu"}):
            raise ShardbitsError(f"{path}: packed products run on the processor; device_map is {device!r}: leave it away, or export the folder")
        return load_model(path, dtype=dtype)

    from_pretrained._knows_shardbits = True
    base.from_pretrained = classmethod(from_pretrained)
