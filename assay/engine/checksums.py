"""SHA-256 of tensors with their names, so that a flipped bit is found before anything is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_BLOCK = 1 << 24  # bytes that are brought to the host at once
_THREADS = 4  # hashlib lets other threads run while it reads a block


def of_tensor(name: str, tensor: Tensor) -> str:
    """SHA-256 of a tensor's name, dtype, shape and bytes.

    Args:
        name: Its name.
        tensor: [any shape], any dtype, on any device.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> of_tensor("a", torch.zeros(2)) == of_tensor("a", torch.zeros(2, 1))
        False
    """
    said = hashlib.sha256(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
    if tensor.numel():
        # one element counts as contiguous whatever its stride, which no view of bytes may have
        flat = tensor.detach().contiguous().as_strided((tensor.numel(),), (1,)).view(torch.uint8)
        for block in flat.split(_BLOCK):
            said.update(block.cpu().numpy())
    return said.hexdigest()


def of_state(tensors: Mapping[str, Tensor], *texts: str) -> str:
    """SHA-256 of named tensors and of texts that belong to them.

    Args:
        tensors: The tensors; their order does not matter.
        texts: The texts, in an order that does.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> whole = of_state({"a": torch.zeros(2)}, "step 3")
        >>> whole == of_state({"a": torch.zeros(2)}, "step 4")
        False
    """
    names = sorted(tensors)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="checksum") as pool:
        parts = list(pool.map(lambda name: of_tensor(name, tensors[name]), names))
    parts += [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
