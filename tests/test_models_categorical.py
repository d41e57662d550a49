"""From logits to a law and from a uniform number to a draw: cuts by hand, and the law of whole
answers enumerated.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from assay.core.rng import Rng
from assay.errors import InputError
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.models.samplers.categorical import inverse_cdf, truncated
from assay.models.vocabulary import Vocabulary


def test_cuts_keep_the_likeliest_and_renormalise() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]], dtype=torch.float64).log()
    torch.testing.assert_close(
        truncated(logits, top_k=2).exp(),
        torch.tensor([[0.0, 4 / 7, 0.0, 3 / 7]], dtype=torch.float64),
    )
    torch.testing.assert_close(
        truncated(logits, top_p=0.5).exp(),
        torch.tensor([[0.0, 4 / 7, 0.0, 3 / 7]], dtype=torch.float64),
    )
    torch.testing.assert_close(
        truncated(logits, top_p=0.39).exp(),
        torch.tensor([[0.0, 1.0, 0.0, 0.0]], dtype=torch.float64),
    )
    torch.testing.assert_close(truncated(logits, temperature=0.5).exp(), logits.exp() ** 2 / 0.30)
    assert torch.equal(truncated(torch.zeros(1, 3), top_k=1).argmax(-1), torch.tensor([0]))
    one_barred = logits.clone()
    one_barred[0, 1] = -torch.inf
    torch.testing.assert_close(
        truncated(one_barred, top_p=0.4).exp(),
        torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64),
    )


def test_a_uniform_number_names_the_token_its_mass_holds() -> None:
    logp = torch.tensor([0.0, 0.25, 0.5, 0.0, 0.25, 0.0], dtype=torch.float64).log()
    u = torch.tensor([1e-12, 0.2499, 0.2501, 0.7499, 0.7501, 1 - 1e-12], dtype=torch.float64)
    assert inverse_cdf(logp.expand(6, 6), u).tolist() == [1, 1, 2, 2, 4, 4]


def test_samples_follow_the_exact_law() -> None:
    """All answers of at most two decisions over four tokens (three words and the end), against 40
    000 draws.
    """
    words = Vocabulary(["a", "b", "c"])
    p = Causal(
        Llama(Config(len(words), 8, 1, 2, 1, 8), Rng(2)).double(),
        words,
        max_tokens=2,
        temperature=0.8,
    )
    n = 40_000
    x = p.sample(words.prompts(["a"]), n, Rng(7))
    possible = [(2,), *itertools.product((3, 4, 5), (2, 3, 4, 5))]
    texts = [[" ".join(words.words[i] for i in answer if i > 2) for answer in possible]]
    law = p.logp(words.completions(words.prompts(["a"]), texts, torch.float64)).detach()
    # an answer of two words is truncated: the end token after it, the third decision, is not part
    # of it
    exact = torch.stack([law[0, i, : len(a)].sum() for i, a in enumerate(possible)]).exp()
    assert abs(float(exact.sum()) - 1) < 1e-12
    codes = (x.action[0, :, 0] * 10 + torch.where(x.mask[0, :, 1], x.action[0, :, 1], 0)).tolist()
    seen = torch.tensor(
        [codes.count(a[0] * 10 + (a[1] if len(a) > 1 else 0)) for a in possible],
        dtype=torch.float64,
    )
    chi2 = float(((seen - n * exact) ** 2 / (n * exact)).sum())
    assert seen.sum() == n
    assert chi2 < 32.9  # the 0.999 quantile at 12 degrees of freedom


@pytest.mark.parametrize(
    ("words", "said"), [(["a", "a"], "'a' twice"), (["a b"], "'a b'"), (["<eos>"], "'<eos>'")]
)
def test_a_vocabulary_is_plain_words_once_each(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Vocabulary(words)
