"""The bundled weights from Python: torch.hub and one import, as others call them."""
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

from dldemos.VAE import weights as weights_of
from dldemos.VAE.latent.embedding import embed, frechet_distance
from dldemos.VAE.model import VAE
from dldemos.VAE.pretrained import directions, random_codes, vae
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.weights import PRETRAINED


def python(code, cwd, **environment):
    """Run a program in a folder, without this repository on its path."""
    return subprocess.run([sys.executable, '-c', code], cwd=cwd, text=True, capture_output=True,
                          env={'PATH': '', 'HOME': str(cwd), **environment})


def test_the_model_has_its_weights_and_is_in_evaluation_mode():
    model = vae()
    assert not model.training
    expected = torch.load(PRETRAINED, weights_only=True)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    again = vae(pretrained=True)                               # as models of torch.hub have it
    assert again is not model and torch.equal(again.mean_linear.bias, model.mean_linear.bias)


@pytest.mark.parametrize('nothing', [None, False])
def test_a_model_without_weights(nothing):
    torch.manual_seed(0)
    model = vae(nothing)
    torch.manual_seed(0)
    assert torch.equal(model.mean_linear.weight, VAE().mean_linear.weight)
    assert not model.training


@pytest.mark.parametrize('name', ['Pretrained', 'sharpe', '', PRETRAINED, 3])
def test_another_name_is_refused_in_a_sentence(name):
    for function in (vae, directions, lambda name: random_codes(1, name)):
        with pytest.raises(ValueError, match='no bundled weights .*there are pretrained, sharp'):
            function(name)


@pytest.mark.parametrize('prior', ['gaussian', 'flow'])
def test_random_codes_of_a_fitted_prior_are_faces(prior):
    """Of weights whose codes are far from N(0, I): these decode to something else."""
    model = vae('calibrated')
    torch.manual_seed(0)
    code = random_codes(200, 'calibrated', prior)
    torch.manual_seed(0)
    assert torch.equal(code, random_codes(200, 'calibrated', prior))
    with torch.no_grad():
        faces, others = embed(model.decode(code)), embed(model.sample(n_samples=200))
        sharp = embed(vae('sharp').sample(n_samples=200))
    assert frechet_distance(faces, sharp) < 0.5 * frechet_distance(others, sharp)
    with pytest.raises(ValueError, match='no fitted prior .normal.: there are gaussian, flow'):
        random_codes(1, 'calibrated', 'normal')


def test_hub_loads_from_any_folder_though_another_dldemos_lies_there(tmp_path):
    """Twice, and what is imported later on works as well."""
    (tmp_path / 'dldemos').mkdir()
    (tmp_path / 'dldemos/__init__.py').write_text('raise ImportError("not this one")')
    done = python(f'''
import torch
for _ in range(2):
    model = torch.hub.load({str(REPOSITORY)!r}, 'vae', source='local')
assert not model.training
print(model.sample().shape)
try:
    torch.hub.load({str(REPOSITORY)!r}, 'vae', pretrained='other', source='local')
except ValueError as error:
    print(error)
''', tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('torch.Size([1, 3, 64, 64])')
    assert 'no bundled weights' in done.stdout


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """The bundled files, copied to where a test may change them."""
    folder = shutil.copytree(Path(PRETRAINED).parent, tmp_path / 'pretrained')
    monkeypatch.setattr(weights_of, 'BUNDLED_FOLDER', folder)
    return folder


@pytest.mark.parametrize('name, function', [
    ('pretrained.pth', vae), ('pretrained.pth', directions),
    ('pretrained.directions.pth', directions)])
def test_a_file_that_is_not_as_it_was_shipped_is_refused(copied, name, function):
    file, manifest = copied / name, copied / 'pretrained.json'
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:], b''):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f'{name} does not match its checksum in pretrained.js'):
            function()
    file.unlink()
    with pytest.raises(UserError, match=f'{name} is missing'):
        function()
    file.write_bytes(whole)
    assert function()
    manifest.unlink()
    with pytest.raises(UserError, match='pretrained.json is missing'):
        function()


@pytest.mark.parametrize('text', ['', '{}', '{"sha256": 3', '{"sha256": 3}', '[]'])
def test_a_manifest_that_is_none_is_refused_in_a_sentence(copied, text):
    (copied / 'pretrained.json').write_text(text)
    for function in (vae, directions):
        with pytest.raises(UserError, match='pretrained.json is no manifest of weights'):
            function()


def test_directions_have_a_vector_for_every_attribute():
    found = directions()
    assert len(found) == 40 and {value.shape for value in found.values()} == {(128,)}
    assert all(value.isfinite().all() and 0.5 < value.norm() < 5 for value in found.values())


def test_pillow_and_tqdm_are_not_asked_for(tmp_path):
    """torch.hub installs nothing: what hubconf.py names is all that loading takes."""
    done = python(f'''
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
import dldemos.VAE
assert 'torch' not in sys.modules
sys.modules['PIL'] = sys.modules['tqdm'] = sys.modules['torchvision'] = None
import hubconf
assert hubconf.dependencies == ['torch', 'numpy', 'filelock']
hubconf.vae().sample()
''', tmp_path)
    assert done.returncode == 0, done.stderr
