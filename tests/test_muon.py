"""Muon: the arithmetic of a step, and which parameters get it."""
import copy

import pytest
import torch

from dldemos.VAE.model import VAE
from dldemos.VAE.training import muon


def with_gradients(seed=0):
    torch.manual_seed(seed)
    model = VAE(hiddens=(4, 8, 8), latent_dim=6)
    for value in model.parameters():
        value.grad = torch.randn_like(value)
    return model


@pytest.mark.parametrize('shape', [(20, 60), (60, 20), (32, 32)])
def test_orthogonalized_keeps_the_directions_and_evens_out_their_lengths(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.linspace(0.1, 10, shape[1]))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    between = left.T @ muon.orthogonalized([matrix])[0] @ right.T
    torch.testing.assert_close(between, torch.diag(between.diag()), rtol=0, atol=1e-3)
    large = between.diag()[values > 0.05 * values.max()]
    assert large.min() > 0.65 and large.max() < 1.25


def test_orthogonalized_is_the_iteration_on_the_whole_matrix():
    """Keller Jordan's form of it, here in double precision, on a matrix of low rank and noise."""
    torch.manual_seed(0)
    matrix = torch.randn(40, 3) @ torch.randn(3, 100) + 1e-3 * torch.randn(40, 100)
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    torch.testing.assert_close(muon.orthogonalized([matrix])[0], x.float(), rtol=0, atol=1e-3)


def test_orthogonalized_does_not_depend_on_the_length():
    matrix = torch.randn(5, 9)
    long, short, none = muon.orthogonalized([1000 * matrix, matrix, torch.zeros(5, 9)])
    torch.testing.assert_close(long, short)
    assert none.eq(0).all()


def test_matrices_that_are_worked_on_together_do_not_mix():
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in [(8, 20), (20, 8), (8, 8), (3, 20), (5, 3), (1, 1)]]
    together = muon.orthogonalized(matrices)
    for matrix, result in zip(matrices, together):
        torch.testing.assert_close(result, muon.orthogonalized([matrix])[0])
    assert muon.orthogonalized([]) == []


def test_hidden_weights_are_those_between_other_layers_and_not_too_large():
    model = VAE()
    names = {id(value): name for name, value in model.named_parameters()}
    assert [names[id(weight)] for weight in muon.hidden_weights(model)] == [
        'encoder.1.0.weight', 'encoder.2.0.weight', 'encoder.3.0.weight',
        'mean_linear.weight', 'decoder_projection.weight',
        'decoder.1.0.weight', 'decoder.2.0.weight', 'decoder.3.0.weight', 'decoder.4.0.weight']


def test_two_steps_are_those_of_the_definition_for_matrices_and_of_adam_for_the_rest():
    model = with_gradients()
    other = copy.deepcopy(model)
    hidden = {name for name, value in model.named_parameters()
              if any(value is weight for weight in muon.hidden_weights(model))}
    assert 0 < len(hidden) < len(list(model.parameters()))
    fast = [value for name, value in other.named_parameters() if name.endswith('.1.bias')]
    assert len(fast) == len(list(other.encoder)) + len(list(other.decoder))
    rest = [value for name, value in other.named_parameters() if not name.endswith('.1.bias')]
    optimizer = muon.Muon(model, 0.01, (0.9, 0.99))
    adam = torch.optim.Adam([{'params': rest}, {'params': fast, 'lr': 32 * 0.01}], 0.01,
                            (0.9, 0.99))
    momentum = {name: 0.0 for name in hidden}
    expected = {name: dict(model.named_parameters())[name].detach().clone() for name in hidden}
    for _ in range(2):
        gradients = {name: torch.randn_like(value) for name, value in model.named_parameters()}
        for a, b, gradient in zip(model.parameters(), other.parameters(), gradients.values()):
            a.grad, b.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        adam.step()
        for name in hidden:
            momentum[name] = 0.8 * momentum[name] + 0.2 * gradients[name]
            direction = (0.2 * gradients[name] + 0.8 * momentum[name]).flatten(1)
            rows, columns = direction.shape
            even = muon.orthogonalized([direction])[0] * max(1, rows / columns) ** 0.5
            expected[name] -= 8 * 0.01 * even.view_as(gradients[name])
    for (name, a), b in zip(model.named_parameters(), other.parameters()):
        torch.testing.assert_close(a.detach(), expected[name] if name in hidden else b.detach())


def test_an_optimizer_loaded_from_a_state_goes_on_with_the_same_steps(tmp_path):
    model = with_gradients()
    optimizer = muon.Muon(model, 0.01, (0.9, 0.99))
    optimizer.step()
    other = copy.deepcopy(model)
    torch.save(optimizer.state_dict(), tmp_path / 'state.pth')
    loaded = muon.Muon(other, 0.01, (0.9, 0.99))
    loaded.load_state_dict(torch.load(tmp_path / 'state.pth', weights_only=True))
    for a, b in zip(model.parameters(), other.parameters()):
        a.grad = torch.randn_like(a)
        b.grad = a.grad.clone()
    optimizer.step()
    loaded.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))
