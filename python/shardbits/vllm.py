"""A plugin of vLLM (entry point vllm.general_plugins): --load-format shardbits reads output folders.

Weights are decoded while they are read, tensor by tensor, so that no copy of the whole model in floats is made beside
vLLM's own. Written from the sources of vLLM 0.33 (model_loader/base_loader.py, model_loader/__init__.py); it has not
been run with vLLM, which needs a GPU here."""
from __future__ import annotations

from collections.abc import Iterator


def weights_of(path: str, dtype) -> Iterator[tuple]:
    """Names and tensors of a folder, decoded one after another."""
    import torch

    from .folder import load

    folder = load(path)
    for name in folder:
        yield name, torch.from_numpy(folder.dense(name)).to(dtype)


def register() -> None:
    """Called by vLLM in each of its processes; calling it twice does no harm."""
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    from .folder import is_folder

    @register_model_loader("shardbits")
    class ShardbitsLoader(BaseModelLoader):
        def download_model(self, model_config) -> None:
            if not is_folder(model_config.model):
                raise ValueError(f"{model_config.model}: no manifest.json; --load-format shardbits takes a folder that quantize wrote")

        def load_weights(self, model, model_config) -> None:
            model.load_weights(weights_of(model_config.model, model_config.dtype))
