"""Experiments in folders of their own, compared, and images of other sizes."""
import json
import sys

import pytest
import torch
from conftest import SMALL, run_module
from PIL import Image

from dldemos.VAE import compare as module
from dldemos.VAE import main as program
from dldemos.VAE.compare import compare, labels_of, last_samples
from dldemos.VAE.images.grids import grid
from dldemos.VAE.latent.elbo import meaning_of
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import WEIGHTS, WORK_DIR


def train(images, *options):
    program.main(['train', '--data_root', str(images), '--n_epochs', '1', *SMALL, *options])


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()
                  and path.name != 'curves.jpg')


def test_all_that_an_experiment_writes_lies_in_its_folder(images, here):
    train(images, '--work_dir', 'runs/a')
    assert files(here / 'runs/a') == [
        '.model.pth.lock', '.run.lock', 'log.csv', 'model.json', 'model.looks.npy',
        'model.pth', 'run.pth',
        'samples.gif', 'samples/epoch_0001.jpg', 'settings.json']
    assert json.loads((here / 'runs/a/settings.json').read_text())['latent_dim'] == 8
    before = files(here / 'runs/a')
    program.main(['reconstruct', 'generate', 'interpolate', 'traverse', 'evaluate',
                  '--work_dir', 'runs/a', '--device', 'cpu'])           # its own weights
    made = set(files(here / 'runs/a')) - set(before)
    assert made == {'reconstruct.jpg', 'generate.jpg', 'interpolate.jpg', 'interpolate.gif',
                    'traverse.jpg', 'evaluate.json', 'tmp.jpg'}
    assert not (here / 'work_dirs').exists()
    assert not (here / 'dldemos').exists()


def test_weights_that_are_named_stay_where_they_are_named(images, here):
    train(images, '--work_dir', 'runs/a', '--ckpt_path', 'mine.pth')
    assert (here / 'mine.pth').exists()
    assert not (here / 'runs/a/model.pth').exists()
    program.main(['generate', '--work_dir', 'runs/b', '--ckpt_path', 'pretrained'])
    assert files(here / 'runs/b') == ['generate.jpg', 'tmp.jpg']


def test_a_path_that_is_edited_at_the_top_holds_too(images, here, monkeypatch):
    assert program.ckpt_path == WEIGHTS and program.work_dir == WORK_DIR
    monkeypatch.setattr(program, 'work_dir', 'runs/a')
    monkeypatch.setattr(program, 'ckpt_path', 'mine.pth')
    train(images)
    assert (here / 'mine.pth').exists() and (here / 'runs/a/run.pth').exists()
    assert not (here / 'runs/a/model.pth').exists()


def test_two_experiments_do_not_touch_each_other(images, here):
    train(images, '--work_dir', 'runs/a')
    before = {name: (here / 'runs/a' / name).read_bytes() for name in files(here / 'runs/a')}
    train(images, '--work_dir', 'runs/b', '--seed', '1')
    assert {name: (here / 'runs/a' / name).read_bytes()
            for name in files(here / 'runs/a')} == before
    train(images, '--work_dir', 'runs/a', '--resume')                   # each has its own run
    assert json.loads((here / 'runs/b/settings.json').read_text())['seed'] == 1


def test_runs_are_labelled_by_what_differs():
    a, b = {'kl_weight': 0.1, 'lr': 1, 'work_dir': 'a'}, {'kl_weight': 0.2, 'lr': 1, 'n': 3}
    assert labels_of(['a', 'b'], [a, b]) == ['kl_weight 0.1 n None', 'kl_weight 0.2 n 3']
    assert labels_of(['a', 'b'], [a, a]) == ['a', 'b']
    assert labels_of(['x', 'y', 'z'], [a, {**a, 'lr': 2}, a]) == ['x lr 1', 'lr 2', 'z lr 1']


def test_compare_draws_runs_beside_each_other(images, here, monkeypatch, capsys):
    for name, seed in (('a', '0'), ('b', '1')):
        train(images, '--work_dir', f'runs/{name}', '--seed', seed)
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    without = compare(['runs/a', 'runs/b'])
    assert 'pip install matplotlib' in capsys.readouterr().out
    assert without.height < 200
    monkeypatch.undo()
    monkeypatch.chdir(here)
    pytest.importorskip('matplotlib')
    done = run_module('dldemos.VAE.compare', 'runs/a', 'runs/b', cwd=here)
    assert done.returncode == 0, done.stderr
    picture = Image.open('work_dirs/compare.jpg')
    assert picture.width >= 1000 and picture.height > without.height + 300


def test_the_samples_of_a_run_are_its_own(images, here):
    train(images, '--work_dir', 'runs/a')
    faces = torch.linspace(0, 1, 16).view(16, 1, 1, 1).expand(16, 3, 64, 64)
    grid(faces, columns=4).save('runs/a/samples/epoch_0001.jpg', quality=100)
    found = last_samples('runs/a', 1)
    assert found.shape == (module.N_SHOWN, 3, 64, 64)
    assert (found - faces[:module.N_SHOWN]).abs().max() < 0.02


def test_what_is_no_run_is_told_in_a_sentence(images, here):
    (here / 'empty').mkdir()
    with pytest.raises(UserError, match='no run with a whole epoch in empty'):
        compare(['empty'])
    train(images, '--work_dir', 'runs/a')
    for name, content in (('settings.json', 'no JSON'), ('settings.json', '[]'),
                          ('log.csv', 'epoch,loss\n1,x\n')):
        path = here / 'runs/a' / name
        before = path.read_text()
        path.write_text(content)
        with pytest.raises(UserError, match='is damaged'):
            compare(['runs/a'])
        path.write_text(before)
    (here / 'runs/a/samples/epoch_0001.jpg').unlink()
    with pytest.raises(UserError, match='samples of this run were removed'):
        compare(['runs/a'])


@pytest.mark.parametrize('size, hiddens', [(32, '4,8,8'), (96, '4,8,8,8,8'), (128, '4,8,8,8'),
                                           (16, '4'), (8, '4')])
def test_other_sizes_train_and_draw(images, here, size, hiddens):
    options = ['--image_size', str(size), '--hiddens', hiddens, '--latent_dim', '8']
    program.main(['train', 'reconstruct', 'generate', 'interpolate', 'traverse', 'evaluate',
                  '--data_root', str(images), '--n_epochs', '1', '--device', 'cpu', *options])
    width = Image.open('work_dirs/generate.jpg').width
    assert width == 8 * (size + 2) + 2
    metrics = json.loads((here / 'work_dirs/evaluate.json').read_text())
    assert metrics['mse_mean'] > 0 and metrics['bits_best'] < 12
    program.main(['generate', '--device', 'cpu'])               # the size is in the manifest
    assert Image.open('work_dirs/generate.jpg').width == width


@pytest.mark.parametrize('options, words', [
    (['--image_size', '50'], 'hiddens has 5 widths, but each one halves the 50 pixels'),
    (['--image_size', '33'], 'image_size 33 cannot be halved'),
    (['--image_size', '0'], 'image_size must be a whole number of at least 1')])
def test_a_size_that_cannot_be_halved_is_refused(images, here, options, words):
    with pytest.raises(UserError, match=words):
        train(images, *options)
    assert not (here / 'work_dirs').exists()


def test_bundled_weights_have_their_size(here):
    with pytest.raises(UserError, match='of a VAE of other sizes.*and image_size'):
        program.main(['generate', '--image_size', '128', '--ckpt_path', 'pretrained'])
    with pytest.raises(UserError, match='no weights at'):
        program.main(['generate', '--image_size', '128'])


def test_what_a_weight_means():
    assert meaning_of(0.00025, 0.018, 12288) == (
        'kl_weight at the end: 0.00025, which is beta 1 at a decoder variance of 1.54, or beta '
        '85.3 at the variance reached, 0.018')
    assert 'beta 1 at a decoder variance of 6.14' in meaning_of(0.00025, 0.018, 3 * 128**2)
    assert 'beta' not in meaning_of(0, 0.018, 12288)
