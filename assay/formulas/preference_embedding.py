"""General preference models: each response is a vector, and preferences are a skew product of two.

A Bradley–Terry model is the case without planes: a score explains transitive preferences alone.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def skew_product(v: Float[Tensor, "*#S D"], w: Float[Tensor, "*#S D"]) -> Float[Tensor, "*S"]:
    """⟨R v, w⟩ with R block-diagonal in [[0, −1], [1, 0]]: each two coordinates are a plane.

    In a plane it is v₁w₂ − v₂w₁, the signed area of the two vectors: responses that lie around the
    origin beat one another in a circle. Swapping the two changes the sign to the last bit.

    Args:
        v: Embeddings of the first responses `[*S, D]`, D even.
        w: Embeddings of the second responses `[*S, D]`.

    Returns:
        `[*S]`; 0 where D is 0.

    Raises:
        ValueError: D is odd.

    Example:
        >>> import torch
        >>> skew_product(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item()
        1.0

    Source: Zhang et al., "Beyond Bradley-Terry Models: A General Preference Model for Language
        Model Alignment", arXiv:2410.02197, 2024, section 4 (without its eigenvalue gate).
    """
    if v.shape[-1] % 2:
        raise ValueError(f"an embedding has {v.shape[-1]} coordinates; planes have two each")
    return (v[..., ::2] * w[..., 1::2] - v[..., 1::2] * w[..., ::2]).sum(-1)


def general_preference_log_odds(
    first: Float[Tensor, "*#S E"], second: Float[Tensor, "*#S E"]
) -> Float[Tensor, "*S"]:
    """Log-odds that the first response is preferred: r(y) − r(y′) + ⟨R v(y), v(y′)⟩.

    The score r is the plane (r, 1) written out, so that an embedding without planes is
    Bradley–Terry.

    Args:
        first: (r, v) of the first responses `[*S, 1+D]`: a score, then D coordinates in planes.
        second: (r, v) of the second responses `[*S, 1+D]`.

    Returns:
        `[*S]`, in nats; exactly antisymmetric.

    Source: As `skew_product`.
    """
    return first[..., 0] - second[..., 0] + skew_product(first[..., 1:], second[..., 1:])
