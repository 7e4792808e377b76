"""What an action works on: which weights, which images, which codes."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, SMALL, interrupt, make_image, run_module
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from dldemos.VAE import command_line, session
from dldemos.VAE import main as program
from dldemos.VAE.images import grids
from dldemos.VAE.images.grids import grid
from dldemos.VAE.load_celebA import get_dataloader
from dldemos.VAE.model import VAE
from dldemos.VAE.pretrained.sample_faces import draw_sample_faces
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.training import log
from dldemos.VAE.weights import read_looks


def manifest(path):
    return json.loads(Path(path).read_text())


@pytest.fixture
def looked_at(monkeypatch):
    """The number of images that `evaluate` was called with, each time."""
    counts = []

    def evaluate(device, model, dataloader, *rest):
        """Take the place of evaluate."""
        counts.append(len(dataloader.dataset))

    monkeypatch.setattr(command_line, 'evaluate', evaluate)
    return counts


def test_weights_come_with_a_record(trained):
    about = manifest('dldemos/VAE/model.json')
    assert about['trained_on']['n_images'] == 9
    assert len(read_looks('dldemos/VAE/model.pth', about)[0]) == 9
    assert about['trained_on']['root'] == str(trained)
    assert about['epochs'] == about['steps'] == 1
    assert about['settings']['lr'] == 0.005
    assert about['settings']['latent_dim'] == 8
    assert about['metrics']['held_out_loss'] > 0


def test_an_action_says_what_the_weights_are_and_takes_their_sizes_and_images(trained, capsys,
                                                                              looked_at):
    program.main(['evaluate', '--device', 'cpu'])           # no data_root, no latent_dim
    output = capsys.readouterr().out
    assert f'model.pth, trained for 1 step on 9 images of {trained}, too few to show' in output
    assert '--ckpt_path pretrained, sharp or calibrated takes bundled ones' in output
    assert looked_at == [1]
    program.main(['evaluate', '--device', 'cpu', '--held_out', '0.5'])     # not what decides
    assert looked_at == [1, 1]


def test_where_nothing_is_held_out_a_line_says_so(images, here, capsys, looked_at):
    program.main(['train', 'evaluate', '--held_out', '0', '--data_root', str(images),
                  '--n_epochs', '1', *SMALL])
    assert looked_at == [10]
    line = f'all images in {images} were trained on'
    assert line in capsys.readouterr().out
    program.main(['evaluate', '--device', 'cpu'])
    assert looked_at == [10, 10]
    assert line in capsys.readouterr().out


def test_weights_without_a_record_are_used_and_said_to_be_unknown(trained, here, capsys, looked_at):
    os.remove('dldemos/VAE/model.json')
    program.main(['evaluate', '--data_root', str(trained), *SMALL])
    assert 'nothing is known of what they were trained on' in capsys.readouterr().out
    assert looked_at == [5]                         # to the other half a prior would be fitted


def test_the_same_faces_alone_and_in_company(trained, here):
    def pictures(*actions):
        program.main([*actions, '--device', 'cpu'])
        return {name: (here / 'work_dirs' / name).read_bytes()
                for name in os.listdir('work_dirs')
                if name.endswith(('.jpg', '.gif')) and name != 'tmp.jpg'}

    every = pictures('reconstruct', 'generate', 'interpolate', 'traverse')
    for action in ('traverse', 'interpolate', 'generate', 'reconstruct'):
        os.remove(here / f'work_dirs/{action}.jpg')
        assert pictures(action) == every


def test_traverse_alone_draws_the_faces_of_the_seed(here):
    def picture(*actions):
        program.main([*actions, '--device', 'cpu'])
        return (here / 'work_dirs/traverse.jpg').read_bytes()

    assert picture('interpolate', 'traverse') == picture('traverse')
    assert picture('traverse', '--seed', '1') != picture('traverse')


def test_what_cannot_be_trained_on_is_refused_before_training(images, here):
    with pytest.raises(UserError, match='no image is left to train on: 2 of 2 are held out'):
        program.main(['train', '--data_root', str(images), '--n_images', '2', '--held_out', '0.9'])
    assert not (here / 'work_dirs').exists()
    assert not (here / 'dldemos').exists()


@pytest.mark.parametrize('options', [
    ['--n_images', '1'], ['--n_images', '9', '--hiddens', '4,4,4,4,4,4', '--batch_size', '7'],
    ['--seed', '99999999999999'], ['--seed', str(2**63 - 1)]])
def test_what_can_be_trained_on_is(images, here, options):
    program.main(['train', 'reconstruct', '--data_root', str(images), '--n_epochs', '1',
                  '--hiddens', '4,8', '--latent_dim', '8', *options])
    assert (here / 'work_dirs/reconstruct.jpg').exists()


def test_too_short_a_run_is_told_with_the_steps_that_do(images, here, capsys):
    program.main(['train', '--data_root', str(images), '--n_epochs', '2', '--batch_size', '3',
                  *SMALL])
    assert 'a run of 6 steps is too short to show faces: about 500 do, with --n_epochs 167' in (
        capsys.readouterr().out)


def test_the_bundled_weights_suggest_the_crop_for_pictures_of_another_size(tmp_path, here, capsys):
    for name, size in (('phone', (300, 400)), ('celeba', (178, 218))):
        (tmp_path / name).mkdir()
        for i in range(4):
            make_image(i, size).save(tmp_path / name / f'{i}.png')
        program.main(['reconstruct', '--data_root', name, '--device', 'cpu'])
        suggested = [line for line in capsys.readouterr().out.splitlines() if '--crop face' in line]
        assert len(suggested) == (name == 'phone')


@pytest.mark.parametrize('encoding', ['ascii', 'gbk', 'utf-8'])
def test_a_name_that_cannot_be_printed_is_printed_with_escapes(images, here, encoding):
    root = os.fsdecode(b'bilder \xff\n\xe9 \xe4\xba\xba')
    images.rename(root)
    os.rename(os.path.join(root, '000001.jpg'), os.fsencode(root) + b'/\xfe \xe8\x84\xb8.jpg')
    environment = {'PYTHONIOENCODING': encoding}
    done = run_module('dldemos.VAE.main', 'train', 'reconstruct', 'generate', '--data_root', root,
                      '--n_epochs', 1, *SMALL, cwd=here, environment=environment)
    assert done.returncode == 0, done.stderr
    assert r'data_root=bilder \udcff\n' in done.stdout
    for name in ('000002.jpg', '000003.jpg'):
        (here / root / name).write_bytes(b'no image')
    done = run_module('dldemos.VAE.main', 'reconstruct', cwd=here, environment=environment)
    assert done.returncode == 2
    assert done.stderr.startswith('error: 2 of 10 images in bilder')
    assert done.stderr.count('\n') == 1
    assert 'Traceback' not in done.stderr


def test_a_reader_that_has_read_enough_is_no_traceback(here):
    done = subprocess.run(f'{sys.executable} -m dldemos.VAE.main --help | head -1', shell=True,
                          cwd=here, env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
                          capture_output=True, text=True)
    assert done.stdout.startswith('usage:')
    assert 'Traceback' not in done.stderr and 'Exception' not in done.stderr


def test_more_faces_than_a_picture_holds(here, capsys, monkeypatch):
    monkeypatch.setattr(grids, 'most_images', lambda side: 100)
    sizes = []
    for n_samples in ('260', '90'):
        program.main(['generate', '--n_samples', n_samples, '--device', 'cpu'])
        sizes.append(Image.open('work_dirs/generate.jpg').size)
        said = capsys.readouterr().out
        assert ('a picture holds 100 faces: these are the first of 260' in said) == (
            n_samples == '260')
    assert sizes == [(10 * 66 + 2, 10 * 66 + 2), (10 * 66 + 2, 9 * 66 + 2)]


def test_settings_edited_in_a_notebook_are_those_of_the_functions(images, here, monkeypatch):
    monkeypatch.setattr(program, 'n_epochs', 2)
    monkeypatch.setattr(program, 'ckpt_path', 'mine.pth')
    model = VAE((4, 8), 3)
    program.train('cpu', get_dataloader(images), model)
    assert manifest('mine.json')['epochs'] == 2
    program.train('cpu', get_dataloader(images), model, n_epochs=1)      # a keyword overrides
    assert manifest('mine.json')['epochs'] == 1
    monkeypatch.setattr(program, 'n_samples', 5)
    picture = program.generate('cpu', model)
    assert picture.size == grid(torch.zeros(5, 3, 64, 64)).size
    assert picture.size == grids.grid(torch.zeros(5, 3, 64, 64)).size
    monkeypatch.setattr(program, 'kl_weight', 0.5)
    y, mean, logvar = torch.rand(2, 3, 8, 8), torch.randn(2, 4), torch.zeros(2, 4)
    assert program.loss_fn(y, y, mean, logvar) == program.loss_fn(y, y, mean, logvar, 0.5)
    with pytest.raises(TypeError, match='no setting n_epoch'):
        program.train('cpu', get_dataloader(images), model, n_epoch=1)


def test_functions_called_from_python_obey_the_settings(images, here, monkeypatch, capsys):
    monkeypatch.setattr(program, 'work_dir', 'mine')
    monkeypatch.setattr(program, 'kl_weight', 0.5)
    model, loader = VAE((4, 8), 3), get_dataloader(images)
    for picture in (program.reconstruct('cpu', loader, model), program.generate('cpu', model),
                    program.interpolate('cpu', model), program.traverse('cpu', model)):
        assert picture.width > 200
    assert program.evaluate('cpu', model, loader)['kl_weight'] == 0.5
    assert program.evaluate('cpu', model, loader, kl_weight=0.1)['kl_weight'] == 0.1
    program.explore('cpu', VAE())
    assert sorted(os.listdir('mine')) == [
        'evaluate.json', 'explore.html', 'generate.jpg', 'interpolate.gif', 'interpolate.jpg',
        'reconstruct.jpg', 'tmp.jpg', 'traverse.jpg']
    assert not (here / 'work_dirs').exists()


def test_a_record_is_that_of_its_weights(trained, here, capsys):
    """Weights that another script wrote over the program's own are not what the manifest says."""
    torch.save(VAE((4, 8, 8, 8, 8), 8).state_dict(), 'dldemos/VAE/model.pth')
    program.main(['generate', '--device', 'cpu', '--hiddens', '4,8,8,8,8', '--latent_dim', '8'])
    output = capsys.readouterr().out
    assert 'model.json is of other weights than dldemos/VAE/model.pth' in output
    assert 'nothing is known of what they were trained on' in output


def test_a_name_in_any_function_of_main_is_the_option(images, here, monkeypatch):
    """As where a reader adds a setting and uses its plain name in train_epoch."""
    seen = []
    epoch = program.train_epoch

    def train_epoch(*arguments):
        seen.append(vars(program)['warm_up'])
        return epoch(*arguments)

    monkeypatch.setattr(program, 'train_epoch', train_epoch)
    program.main(['train', '--data_root', str(images), '--n_epochs', '1', '--warm_up', '0.3',
                  *SMALL])
    program.train('cpu', get_dataloader(images), VAE((4, 8), 3), n_epochs=1, warm_up=0.1)
    assert seen == [0.3, 0.1]
    assert program.warm_up == 0.5                           # as it stands in the file


def test_a_batch_that_is_none_is_told_in_a_sentence(here):
    images = torch.rand(4, 3, 64, 64)
    for dataset, words in ((TensorDataset(images), 'a batch is a list'),
                           (list((images * 255).byte()), 'torch.uint8, and must be images'),
                           (list(images[:, 0]), 'a batch has the shape')):
        with pytest.raises(UserError, match=words):
            program.train('cpu', DataLoader(dataset, 2), VAE((4, 8), 3), n_epochs=1)


def test_codes_of_another_prior_have_to_be_given(here):
    with pytest.raises(ValueError, match='give the codes of the prior flow'):
        program.generate('cpu', VAE((4, 8), 3), prior='flow')


def test_resume_writes_the_weights_of_the_run(images, here, monkeypatch):
    """Not those of another training, whose place is the default one."""
    options = ['train', '--data_root', str(images), '--n_epochs', '2', *SMALL]
    program.main(options)
    before = (here / program.ckpt_path).read_bytes()
    program.main([*options, '--seed', '1', '--ckpt_path', 'mine.pth'])
    os.remove('mine.pth')
    program.main(['train', '--resume'])
    assert (here / 'mine.pth').exists()
    assert (here / program.ckpt_path).read_bytes() == before


@pytest.mark.parametrize('options, words', [
    (['--ckpt_path', 'images'], 'is no file of weights'),
    (['--ckpt_path', 'images/000001.jpg'], 'is no file of weights'),
    (['--ckpt_path', 'faces.zip'], 'is no file of weights'),
    (['--ckpt_path', 'work_dirs/run.1.pth'], 'is no file of weights'),
    (['--ckpt_path', '/dev/null'], 'is no file of weights'), (['--ckpt_path', '.'], 'no file of'),
    (['--ckpt_path', 'a.pth', '--run_path', './a.pth'], 'cannot hold both'),
    (['--ckpt_path', 'x' * 250 + '.pth'], 'File name too long')])
def test_weights_go_over_nothing_else(images, here, capsys, options, words):
    shutil.make_archive('faces', 'zip', images)
    (here / 'work_dirs').mkdir()
    torch.save({'rows': [], 'model': VAE((4,), 2).state_dict()}, 'work_dirs/run.1.pth')
    others = images / '000001.jpg', here / 'faces.zip', here / 'work_dirs/run.1.pth'
    before = [path.read_bytes() for path in others]
    status = exit_status(lambda: program.main(['train', '--data_root', str(images), '--n_epochs',
                                               '1', *SMALL, *options]))
    output = capsys.readouterr()
    assert status == 2 and words in output.err
    assert '1/1' not in output.out                           # told before the first epoch
    assert [path.read_bytes() for path in others] == before


def test_weights_of_a_finished_run_are_kept_when_others_take_their_place(trained, here, capsys,
                                                                        monkeypatch):
    """One generation; those of a run that was stopped, whose state is kept, replace none."""
    options = ['train', '--data_root', str(trained), *SMALL, '--seed']
    program.main(['generate', '--prior', 'gaussian', '--device', 'cpu'])
    folder = here / 'dldemos/VAE'
    of_first = {path.name.replace('model.', 'model.previous.'): path.read_bytes()
                for path in folder.glob('model.*')}
    assert len(of_first) == 4

    def kept():
        return {path.name: path.read_bytes() for path in folder.glob('model.previous.*')}

    with monkeypatch.context() as patch:
        patch.setattr(program, 'train_epoch', interrupt)
        with pytest.raises(KeyboardInterrupt):
            program.main([*options, '1'])
    assert not kept() and (folder / 'model.prior.pth').exists()
    with monkeypatch.context() as patch:
        patch.setattr(log, 'show_epoch', interrupt)
        with pytest.raises(KeyboardInterrupt):
            program.main([*options, '2', '--n_epochs', '2'])
    assert 'are kept as dldemos/VAE/model.previous.pth' in capsys.readouterr().out
    assert kept() == of_first
    program.main([*options, '3', '--n_epochs', '1'])
    assert kept() == of_first
    program.main(['reconstruct', '--ckpt_path', str(folder / 'model.previous.pth')])
    assert 'held out: 1 of 10' in capsys.readouterr().out
    program.main([*options, '4', '--n_epochs', '1'])
    assert kept()['model.previous.pth'] != of_first['model.previous.pth']
    program.main(['train', '--resume'])                      # finished: written again, not moved
    assert 'are kept as' not in capsys.readouterr().out.split('was finished already')[1]


def test_what_lies_beside_weights_has_their_whole_name(images, here):
    for name in ('kl0.01', 'kl0.001', 'w.json', 'weights', 'a.b.pth'):
        program.main(['train', '--data_root', str(images), '--n_epochs', '1', '--ckpt_path', name,
                      *SMALL])
    assert {path.name for path in here.glob('*.json')} == {
        'kl0.01.json', 'kl0.001.json', 'w.json', 'w.json.json', 'weights.json', 'a.b.json'}
    program.main(['generate', '--ckpt_path', 'w.json', '--device', 'cpu'])


def test_pictures_that_the_program_drew_are_no_data(images, here, monkeypatch, looked_at):
    monkeypatch.chdir(images)
    for _ in range(2):
        program.main(['train', 'generate', 'evaluate', '--data_root', '.', '--n_epochs', '1',
                      *SMALL])
    assert looked_at == [1, 1]
    assert manifest('dldemos/VAE/model.json')['trained_on']['n_images'] == 9


@pytest.mark.parametrize('key, value', [
    (None, 'no JSON'), (None, '[]'), (None, '{}'),
    ('steps', 'many'), ('settings', []), ('trained_on', {}), ('trained_on', {'n_images': '9'}),
    ('trained_on', {'n_images': 9, 'looks': 1}), ('sha256', None)])
def test_a_record_that_was_edited_is_not_looked_at(trained, here, capsys, key, value):
    path = here / 'dldemos/VAE/model.json'
    path.write_text(json.dumps({**manifest(path), key: value}) if key else value)
    program.main(['generate', *SMALL])
    assert 'is no manifest of weights' in capsys.readouterr().out


def test_a_crop_that_is_given_is_taken(trained, here, looked_at, monkeypatch):
    crops = []
    dataset = session.CelebADataset

    def opened(*arguments, **options):
        crops.append(options['crop'])
        return dataset(*arguments, **options)

    monkeypatch.setattr(session, 'CelebADataset', opened)
    program.main(['train', '--data_root', str(trained), '--n_epochs', '1', '--crop', '100', *SMALL])
    program.main(['reconstruct', '--device', 'cpu'])
    program.main(['reconstruct', '--data_root', './images/', '--device', 'cpu'])
    program.main(['reconstruct', '--crop', '60', '--device', 'cpu'])
    assert crops == [100, 100, 100, 60]


def test_a_closed_standard_output_is_no_mistake(here):
    done = subprocess.run(f'{sys.executable} -m dldemos.VAE.main generate --n_samples 1 >&-',
                          shell=True, cwd=here, env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
                          stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.parametrize('held_out, said', [('0.5', 'linear probe, balanced accuracy'),
                                            ('0', 'no linear probe: it is fitted to images that')])
def test_a_linear_probe_needs_images_that_the_weights_know_and_others(here, capsys, held_out, said):
    folder = draw_sample_faces(here / 'faces', 100)
    program.main(['train', 'evaluate', '--data_root', str(folder), '--n_epochs', '1', '--held_out',
                  held_out, *SMALL])
    assert said in capsys.readouterr().out


@pytest.mark.parametrize('epochs_before', [0, 1])
def test_a_resumed_run_keeps_the_finished_weights_of_others_too(trained, here, monkeypatch,
                                                                epochs_before):
    finished = (here / program.ckpt_path).read_bytes()
    options = ['train', '--data_root', str(trained), *SMALL, '--seed', '1', '--n_epochs', '2']
    with monkeypatch.context() as patch:
        where = (log, 'show_epoch') if epochs_before else (program, 'train_epoch')
        patch.setattr(*where, interrupt)
        with pytest.raises(KeyboardInterrupt):
            program.main(options)
    program.main(['train', '--resume'])
    previous = here / 'dldemos/VAE/model.previous.pth'
    assert previous.read_bytes() == finished
    of_run = (here / program.ckpt_path).read_bytes()
    program.main([*options, '--seed', '2', '--work_dir', 'b', '--ckpt_path', program.ckpt_path])
    of_other = (here / program.ckpt_path).read_bytes()
    program.main(['train', '--resume'])                      # written again, over the other's
    assert (here / program.ckpt_path).read_bytes() == of_run != of_other
    assert previous.read_bytes() == of_other


def test_weights_to_start_from_are_not_replaced(trained, here):
    options, words = (['--init', 'dldemos/VAE/model.previous.pth'],
                      'would be replaced by the weights that are now')
    program.main(['train', '--data_root', str(trained), '--n_epochs', '1', '--seed', '1', *SMALL])
    before = {path: path.read_bytes() for path in (here / 'dldemos/VAE').glob('*.pth')}
    assert len(before) == 2
    with pytest.raises(UserError, match=words):
        program.main(['train', '--data_root', str(trained), '--n_epochs', '1', *SMALL, *options])
    assert {path: path.read_bytes() for path in (here / 'dldemos/VAE').glob('*.pth')} == before
