import os
import pickle

import pytest
import torch

from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.weights import is_finite, load_weights, save_weights


def test_weights_survive_the_round_trip(tmp_path):
    torch.manual_seed(0)
    model, other = VAE(), VAE()
    save_weights(tmp_path / 'new' / 'model.pth', model)
    load_weights(tmp_path / 'new' / 'model.pth', other)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    assert os.listdir(tmp_path / 'new') == ['model.pth']


def test_an_articles_checkpoint_loads(tmp_path):
    torch.save(VAE().state_dict(), tmp_path / 'model.pth')   # as the article's script saves it
    load_weights(tmp_path / 'model.pth', VAE())
    plain = torch.load(tmp_path / 'model.pth', weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in plain.values())


class Call:
    """A pickled call: unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize('save', [
    lambda value, path: torch.save(value, path),
    lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_a_pickled_call_is_refused_and_does_not_run(tmp_path, save):
    path, trace = tmp_path / 'model.pth', tmp_path / 'it_ran'
    save({**VAE().state_dict(), 'extra': Call(trace)}, path)
    with pytest.raises(UserError, match='nothing of it was run'):
        load_weights(path, VAE())
    assert not trace.exists()


@pytest.mark.parametrize('damage', [lambda b: b[:-5000], lambda b: b'', lambda b: b'no weights'])
def test_damaged_weights_are_refused(tmp_path, damage):
    path = tmp_path / 'model.pth'
    save_weights(path, VAE())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match='damaged'):
        load_weights(path, VAE())


def test_missing_and_foreign_weights_are_refused(tmp_path):
    path = tmp_path / 'model.pth'
    with pytest.raises(UserError, match='no weights at'):
        load_weights(path, VAE())
    save_weights(path, VAE(latent_dim=64))
    with pytest.raises(UserError, match='other sizes'):
        load_weights(path, VAE())
    torch.save({'epoch': torch.tensor(1)}, path)
    with pytest.raises(UserError, match='does not hold'):
        load_weights(path, VAE())


def test_is_finite_sees_weights_and_statistics():
    model = VAE()
    assert is_finite(model)
    model.encoder[0][1].running_var[0] = torch.inf
    assert not is_finite(model)
