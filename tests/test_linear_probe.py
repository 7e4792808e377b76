"""What a linear model tells from codes."""
import pytest
import torch

from dldemos.VAE.latent.linear_probe import LinearProbe


def codes_of(n, seed):
    """Codes (n, 6) in which A stands plainly, B half, C not at all; A and B go together."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(n, generator=generator) < 0.2
    b = torch.where(torch.rand(n, generator=generator) < 0.8, a,
                    torch.rand(n, generator=generator) < 0.5)
    c = torch.rand(n, generator=generator) < 0.1
    code = torch.randn(n, 6, generator=generator)
    code[:, 0] += 8 * a.float() + 3 * code[:, 2]        # plain, beside a wide other dimension
    code[:, 1] += 1.0 * b.float()
    return code, {'A': a, 'B': b, 'C': c, 'Rare': torch.arange(n) < 3,
                  'All': torch.ones(n, dtype=torch.bool)}


@pytest.mark.parametrize('batch_size', [1, 64, 1000])
def test_an_attribute_in_the_code_is_told_and_others_are_not(batch_size):
    mean, known = codes_of(4000, 0)
    judged_mean, judged = codes_of(1000, 1)
    probe = LinearProbe(mean, known, judged)
    for some in judged_mean.split(batch_size):
        probe.add(some)
    found = probe.balanced_accuracy()
    assert list(found) == ['A', 'B', 'C']                   # of the others there are too few
    assert found['A'] > 0.98
    assert 0.8 < found['B'] < 0.99
    assert found['C'] == pytest.approx(0.5, abs=0.08)


def test_always_the_same_answer_is_chance():
    """However rare the attribute: a mean over those with and without it."""
    mean, known = codes_of(4000, 0)
    judged_mean, judged = codes_of(1000, 1)
    probe = LinearProbe(mean, known, judged)
    probe.bias += 1e6
    probe.add(judged_mean)
    assert probe.balanced_accuracy() == pytest.approx({'A': 0.5, 'B': 0.5, 'C': 0.5})


def test_codes_that_do_not_vary_and_attributes_of_nobody_do_no_harm():
    mean, known = codes_of(100, 0)
    mean[:, 3:] = 0                                        # dimensions that say nothing
    probe = LinearProbe(mean, known, known)
    probe.add(mean)
    assert probe.balanced_accuracy().keys() <= {'A', 'B', 'C'}
    nothing = LinearProbe(mean, {'Rare': known['Rare']}, {'Rare': known['Rare']})
    nothing.add(mean)
    assert nothing.balanced_accuracy() == {}
