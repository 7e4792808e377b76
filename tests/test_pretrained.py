"""The bundled weights: what is said of them, and when they are used."""
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, run_module
from PIL import Image

from dldemos.VAE import main as program
from dldemos.VAE import session
from dldemos.VAE import weights as weights_of
from dldemos.VAE.command_line import parse
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.weights import (
    BUNDLED,
    PRETRAINED,
    load_weights,
    save_weights,
    weights_file,
)

ABOUT = {name: json.loads(Path(weights_file(name)).with_suffix('.json').read_text())
         for name in BUNDLED}
FOLDER = Path(PRETRAINED).parent


@pytest.fixture(autouse=True)
def as_shipped():
    """Whatever a test does, the files that ship stay as they are."""
    expected = {name: digest for about in ABOUT.values() for name, digest in
                about['sha256'].items()}

    def hashes():
        return {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
                for name in expected}
    assert hashes() == expected
    yield
    assert hashes() == expected


def bundled(name='pretrained'):
    model = VAE()
    load_weights(weights_file(name), model)
    return model.eval()


@pytest.mark.parametrize('name', BUNDLED)
def test_each_comes_whole(name):
    endings = {'.pth', '.prior.pth', '.directions.pth'}
    assert set(ABOUT[name]['sha256']) == {name + ending for ending in endings}
    assert sum(path.stat().st_size for path in FOLDER.glob(f'{name}.*')) < 6_500_000
    assert (FOLDER / f'{name}.prior.pth').stat().st_size < 1_500_000
    fitted = torch.load(FOLDER / f'{name}.prior.pth', weights_only=True)
    assert {'gaussian', 'flow'} <= fitted.keys()
    assert fitted['weights'] == ABOUT[name]['sha256'][f'{name}.pth']


@pytest.mark.parametrize('name', BUNDLED)
def test_the_metrics_that_need_no_data_are_those_of_the_file(name):
    model = bundled(name)
    metrics = ABOUT[name]['metrics_without_data']
    assert sum(p.numel() for p in model.parameters()) == metrics['parameters'] == 1_183_283
    torch.manual_seed(0)
    with torch.no_grad():
        faces = model.sample(n_samples=64)
    assert faces.mean().item() == pytest.approx(metrics['mean_of_64_samples'], abs=1e-3)
    assert faces.std().item() == pytest.approx(metrics['std_of_64_samples'], abs=1e-3)


@pytest.mark.parametrize('name', BUNDLED)
def test_what_is_said_of_them_adds_up(name):
    """The loss is that of its terms; the settings are those of the command, by main.py's recipe."""
    metrics, settings = ABOUT[name]['metrics'], ABOUT[name]['settings']
    assert metrics['loss'] == pytest.approx(
        metrics['mse_sampled'] + metrics['kl_weight'] * metrics['kl'])
    words = ABOUT[name]['command'].removeprefix('python -m dldemos.VAE.main').split()
    _, asked, _ = parse(words, vars(program))
    for setting, saved in settings.items():
        if hasattr(asked, setting):
            value = getattr(asked, setting)
            assert (tuple(saved) if isinstance(value, tuple) else saved) == value, setting
    assert 'non-commercial research' in ABOUT[name]['terms']


def test_sharp_ones_are_sharper_and_draw_nearer_faces():
    pretrained, sharp = (ABOUT[name]['metrics'] for name in ('pretrained', 'sharp'))
    assert sharp['mse_mean'] < 0.7 * pretrained['mse_mean']
    for prior in ('normal', 'gaussian', 'flow'):
        assert sharp[f'frechet_{prior}'] < 0.8 * pretrained[f'frechet_{prior}']
        assert sharp[f'recall_{prior}'] > pretrained[f'recall_{prior}']


def test_calibrated_ones_are_the_sharpest_and_draw_the_nearest_faces_of_a_fitted_prior():
    """And none from N(0, I)."""
    sharp, calibrated = (ABOUT[name]['metrics'] for name in ('sharp', 'calibrated'))
    assert calibrated['mse_mean'] < 0.8 * sharp['mse_mean']
    assert calibrated['frechet_flow'] < 0.9 * sharp['frechet_flow']
    assert calibrated['recall_flow'] > sharp['recall_flow']
    assert calibrated['frechet_normal'] > 2 * calibrated['frechet_flow']


def test_weights_that_calibrated_themselves_take_a_fitted_prior_unless_told_otherwise(here, capsys):
    def drawn(*options):
        program.main(['generate', '--ckpt_path', 'calibrated', '--device', 'cpu', *options])
        return capsys.readouterr().out

    assert 'random codes: of the prior flow' in drawn()
    by_default = (here / 'work_dirs/generate.jpg').read_bytes()
    assert 'random codes' not in drawn('--prior', 'flow')
    assert (here / 'work_dirs/generate_flow.jpg').read_bytes() == by_default
    assert 'random codes' not in drawn('--prior', 'normal')
    assert (here / 'work_dirs/generate.jpg').read_bytes() != by_default
    assert 'random codes' not in drawn('--ckpt_path', 'sharp')


def test_a_fresh_clone_draws_faces(here):
    done = run_module('dldemos.VAE.main', 'generate', 'interpolate', 'traverse', cwd=here)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('pretrained weights') == 1
    assert 'draws once' not in done.stdout                       # no data, and none is drawn
    assert not (here / 'data').exists()
    assert not (here / 'dldemos').exists()
    for name in ('generate.jpg', 'interpolate.jpg', 'interpolate.gif', 'traverse.jpg'):
        assert Image.open(here / 'work_dirs' / name).width > 100
    faces = Image.open(here / 'work_dirs/generate.jpg').resize((1, 1)).getpixel((0, 0))
    assert faces[0] > faces[2] + 20                              # skin, not noise


def test_they_draw_faces_without_their_record(here, tmp_path, monkeypatch):
    copied = shutil.copytree(FOLDER, tmp_path / 'pretrained')
    (copied / 'pretrained.json').unlink()
    monkeypatch.setattr(session, 'PRETRAINED', str(copied / 'pretrained.pth'))
    program.main(['generate', '--n_samples', '1'])
    assert (here / 'work_dirs/generate.jpg').exists()


def test_weights_that_were_trained_here_take_precedence(here, capsys):
    save_weights(program.ckpt_path, VAE())
    program.main(['generate'])
    output = capsys.readouterr().out
    assert 'these are the pretrained weights' not in output
    assert '--ckpt_path pretrained, sharp or calibrated takes bundled ones' in output
    drawn = (here / 'work_dirs/generate.jpg').read_bytes()
    program.main(['generate', '--ckpt_path', 'pretrained'])
    assert 'steps on 7,200 images of CelebA' in capsys.readouterr().out
    assert (here / 'work_dirs/generate.jpg').read_bytes() != drawn


@pytest.mark.parametrize('options', [['--ckpt_path', 'mine.pth'], ['--latent_dim', '8']])
def test_they_stand_in_for_nothing_that_was_asked_for(here, options):
    with pytest.raises(UserError, match='no weights at'):
        program.main(['generate', *options])


def test_training_never_touches_them(here, images):
    for path in ('pretrained', 'sharp', PRETRAINED,
                 Path(PRETRAINED).parent / '../pretrained/pretrained.pth'):
        status = exit_status(lambda p=path: program.main(
            ['train', '--data_root', str(images), '--ckpt_path', str(p)]))
        assert status == 2
    program.main(['train', '--data_root', str(images), '--n_epochs', '1'])
    assert Path(program.ckpt_path).exists()


def test_training_can_start_from_them(here, images, capsys):
    """A step of no length leaves them; without --init they are others."""
    options = ['train', '--data_root', str(images), '--n_epochs', '1', '--lr', '1e-12']
    program.main([*options, '--init', 'pretrained'])
    assert 'too short' not in capsys.readouterr().out
    program.main(['generate'])
    output = capsys.readouterr().out
    assert 'from the weights pretrained on' in output and 'too few' not in output
    started = VAE()
    load_weights(program.ckpt_path, started)
    for (name, a), b in zip(started.named_parameters(), bundled().parameters()):
        torch.testing.assert_close(a, b, msg=name)
    other = VAE()
    save_weights('other.pth', other)
    program.main([*options, '--init', 'other.pth'])
    load_weights(program.ckpt_path, started)
    for a, b in zip(started.parameters(), other.parameters()):
        torch.testing.assert_close(a, b)
    with pytest.raises(UserError, match='no weights at nowhere.pth'):
        program.main([*options, '--init', 'nowhere.pth'])


def test_an_installed_package_has_them(here):
    """`pip install .`, then `generate` and `explore` in another folder."""
    pytest.importorskip('setuptools', minversion='64')
    for name in ('dldemos', 'pyproject.toml', 'requirements.txt', 'README.md'):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, here / 'source' / name if (here / 'source').exists() else
             (here / 'source').mkdir() or here / 'source' / name)
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps',
                    '--no-build-isolation', '--target', here / 'site', here / 'source'],
                   check=True, capture_output=True)
    (here / 'elsewhere').mkdir()
    done = run_module('dldemos.VAE.main', 'generate', 'explore', '--n_samples', 1,
                      cwd=here / 'elsewhere', repository=here / 'site')
    assert done.returncode == 0, done.stderr
    assert 'pretrained weights' in done.stdout
    assert (here / 'elsewhere/work_dirs/generate.jpg').exists()
    assert (here / 'elsewhere/work_dirs/explore.html').stat().st_size > 3e6


def test_a_copy_of_them_is_known_for_what_it_is(here, capsys):
    """With its priors and directions: nothing is drawn, trained or fitted for it."""
    shutil.copy(weights_file('sharp'), 'my.pth')
    program.main(['generate', 'attributes', '--ckpt_path', 'my.pth', '--prior', 'flow'])
    output = capsys.readouterr().out
    assert 'weights: sharp, trained' in output and 'fitting' not in output
    assert not (here / 'data').exists()
    assert sorted(path.name for path in here.glob('my*')) == ['my.pth']


@pytest.mark.parametrize('ending, options', [
    ('.directions.pth', ['attributes']), ('.prior.pth', ['generate', '--prior', 'gaussian'])])
def test_nothing_is_fitted_for_them_in_place_of_what_came(here, images, monkeypatch, ending,
                                                          options):
    folder = here / 'pretrained'
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(weights_of, 'BUNDLED_FOLDER', folder)
    (folder / f'sharp{ending}').write_bytes(b'')
    for more in ([], ['--data_root', str(images)]):
        with pytest.raises(UserError, match=f'sharp{ending} is missing or damaged.*whole repo'):
            program.main([*options, '--ckpt_path', 'sharp', *more])
    assert (folder / f'sharp{ending}').read_bytes() == b''


def test_their_loss_is_that_of_their_own_kl_weight(here, images):
    for options, weight in (([], 0.00003), (['--kl_weight', '0.00025'], 0.00025)):
        program.main(['evaluate', '--ckpt_path', 'sharp', '--data_root', str(images), *options])
        metrics = json.loads((here / 'work_dirs/evaluate.json').read_text())
        assert metrics['kl_weight'] == weight
        assert metrics['loss'] == pytest.approx(metrics['mse_sampled'] + weight * metrics['kl'])
