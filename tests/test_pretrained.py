"""The weights that come with the program: what is said of them, and when they are used."""
import hashlib
import json
from pathlib import Path

import pytest
import torch
from conftest import run_module
from PIL import Image

from dldemos.VAE import main as program
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.training.checkpoint import PRETRAINED, load_weights, save_weights

ABOUT = json.loads(Path(PRETRAINED).with_suffix('.json').read_text(encoding='utf-8'))


@pytest.fixture(autouse=True)
def as_shipped():
    """Whatever a test does, the files that ship stay as they are."""
    def hashes():
        return {name: hashlib.sha256(Path(PRETRAINED).with_name(name).read_bytes()).hexdigest()
                for name in ABOUT['sha256']}
    assert hashes() == ABOUT['sha256']
    yield
    assert hashes() == ABOUT['sha256']


def pretrained():
    model = VAE()
    load_weights(PRETRAINED, model)
    return model.eval()


def test_the_figures_that_need_no_data_are_those_of_the_file():
    model = pretrained()
    figures = ABOUT['figures without data']
    assert sum(p.numel() for p in model.parameters()) == figures['parameters'] == 1_183_283
    torch.manual_seed(0)
    with torch.no_grad():
        faces = model.sample('cpu', 64)
    assert faces.mean().item() == pytest.approx(figures['mean of 64 samples, seed 0'], abs=1e-3)
    assert faces.std().item() == pytest.approx(
        figures['standard deviation of 64 samples, seed 0'], abs=1e-3)


def test_what_is_said_of_them_adds_up():
    """The loss is that of its terms, and the settings are those of the recipe in main.py."""
    table = ABOUT['figures on the held-out images']
    weight = ABOUT['settings']['kl_weight']
    assert table[f'loss, kl_weight {weight:.3g}'] == pytest.approx(
        table['MSE, code sampled'] + weight * table['KL, nats an image'])
    recipe = ABOUT['command'].split('--recipe ')[1].split()[0]
    for name, value in program.RECIPES[recipe].items():
        saved = ABOUT['settings'][name]
        assert (tuple(saved) if isinstance(value, tuple) else saved) == value
    assert 'non-commercial research' in ABOUT['terms']


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


@pytest.mark.parametrize('prior', ['gaussian', 'flow'])
def test_the_priors_that_come_with_them_are_used(here, prior):
    program.main(['generate', '--prior', prior])
    assert (here / f'work_dirs/generate_{prior}.jpg').exists()
    assert not (here / 'data').exists()


def test_my_own_pictures_are_all_reconstructed(here, images, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(program, 'pairs', lambda a, b: shown.append(a) or [('x', a)])
    program.main(['reconstruct', '--data_root', str(images)])
    assert 'pretrained weights' in capsys.readouterr().out
    assert len(shown[0]) == 10


@pytest.mark.parametrize('folder, n_unseen', [('mine', 10), ('img_align_celeba', 1)])
def test_of_celeba_they_are_shown_what_they_have_not_seen(here, images, folder, n_unseen,
                                                          monkeypatch):
    evaluated = []
    monkeypatch.setattr(program, 'evaluate', lambda device, model, dataloader, *rest:
                        evaluated.append(len(dataloader.dataset)))
    images.rename(here / folder)
    program.main(['evaluate', '--data_root', folder])
    assert evaluated == [n_unseen]


def test_drawn_faces_are_not_what_they_know(here):
    for action in ('reconstruct', 'attributes', 'evaluate'):
        with pytest.raises(UserError, match='photographs, and there are none here.*--data_root'):
            program.main([action])
    assert not (here / 'data').exists()


def test_weights_that_were_trained_here_go_first(here, capsys):
    save_weights(program.ckpt_path, VAE())
    program.main(['generate'])
    assert 'pretrained' not in capsys.readouterr().out


@pytest.mark.parametrize('options', [['--ckpt_path', 'mine.pth'], ['--latent_dim', '8']])
def test_they_stand_in_for_nothing_that_was_asked_for(here, options):
    with pytest.raises(UserError, match='no weights at'):
        program.main(['generate', *options])


def test_training_never_touches_them(here, images):
    for path in (PRETRAINED, Path(PRETRAINED).parent / '../pretrained/pretrained.pth'):
        status = exit_status(lambda p=path: program.main(
            ['train', '--data_root', str(images), '--ckpt_path', str(p)]))
        assert status == 2
    program.main(['train', '--data_root', str(images), '--n_epochs', '1'])
    assert Path(program.ckpt_path).exists()


def test_training_can_start_from_them(here, images):
    """A step of no length leaves them; without --init they are others."""
    options = ['train', '--data_root', str(images), '--n_epochs', '1', '--lr', '1e-12']
    program.main([*options, '--init', 'pretrained'])
    started = VAE()
    load_weights(program.ckpt_path, started)
    for (name, a), b in zip(started.named_parameters(), pretrained().parameters()):
        torch.testing.assert_close(a, b, msg=name)
    other = VAE()
    save_weights('other.pth', other)
    program.main([*options, '--init', 'other.pth'])
    load_weights(program.ckpt_path, started)
    for a, b in zip(started.parameters(), other.parameters()):
        torch.testing.assert_close(a, b)
    with pytest.raises(UserError, match='no weights at nowhere.pth'):
        program.main([*options, '--init', 'nowhere.pth'])
