"""PyTorch modules on packed weights, and the custom operators under them."""
from __future__ import annotations

import itertools
import weakref

import numpy as np
import torch

from .folder import Matrix

# Operators take numbers for matrices: a graph of torch.compile holds numbers, not Python objects.
_matrices: weakref.WeakValueDictionary[int, Matrix] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


def register(matrix: Matrix) -> int:
    """The number by which operators know `matrix`, as long as it lives."""
    number = next(_numbers)
    _matrices[number] = matrix
    return number


@torch.library.custom_op("shardbits::product", mutates_args=())
def product(x: torch.Tensor, matrix: int, rows: int) -> torch.Tensor:
    """x W' for x [.., cols] on a processor, computed in float32; [.., rows] of x's type."""
    y = _matrices[matrix].product(x.detach().to("cpu", torch.float32).numpy())
    return torch.from_numpy(y).to(x.device, x.dtype)


@product.register_fake
def _(x: torch.Tensor, matrix: int, rows: int) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], rows))


@torch.library.custom_op("shardbits::embed", mutates_args=())
def embed(ids: torch.Tensor, matrix: int, cols: int, dtype: torch.dtype) -> torch.Tensor:
    """The rows `ids` of an embedding, decoded where they lie: [.., cols] of `dtype`."""
    rows = _matrices[matrix].rows(ids.detach().cpu().numpy().astype(np.int64))
    return torch.from_numpy(rows).to(ids.device, dtype)


@embed.register_fake
def _(ids: torch.Tensor, matrix: int, cols: int, dtype: torch.dtype) -> torch.Tensor:
    return ids.new_empty((*ids.shape, cols), dtype=dtype)


class PackedLinear(torch.nn.Module):
    """A linear layer whose weights stay packed. Inference only: it has no gradients."""

    def __init__(self, matrix: Matrix, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.matrix, self.number = matrix, register(matrix)
        self.out_features, self.in_features = matrix.shape
        self.bias = None if bias is None else torch.nn.Parameter(bias, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.ops.shardbits.product(x, self.number, self.out_features)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        bits = 8 * self.matrix.packed_bytes / (self.in_features * self.out_features)
        return f"in_features={self.in_features}, out_features={self.out_features}, {bits:.2f} bits a weight"


class PackedEmbedding(torch.nn.Module):
    """An embedding whose rows stay packed."""

    def __init__(self, matrix: Matrix, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.matrix, self.number, self.dtype = matrix, register(matrix), dtype
        self.num_embeddings, self.embedding_dim = matrix.shape

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.ops.shardbits.embed(ids, self.number, self.embedding_dim, self.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"
