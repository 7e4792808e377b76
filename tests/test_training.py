"""What a training run keeps: schedules, states, interruptions, several processes."""
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from baseline import baseline_epoch
from conftest import REPOSITORY, run_module, save_images, small_vae
from PIL import Image
from torch.utils.data import DataLoader

from dldemos.VAE import main as program
from dldemos.VAE import weights as weights_of
from dldemos.VAE.load_celebA import CelebADataset, ShuffledBatches, batches, get_dataloader
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.support.settings import read_settings
from dldemos.VAE.training import log, processes, run, steps

RUN_PATH = 'work_dirs/run.pth'
N_LONG = 40              # epochs of a run that is stopped
SMALL = ['--hiddens', '4,8,8,8,8', '--latent_dim', '8', '--batch_size', '4', '--device', 'cpu']


def weights(path=program.ckpt_path):
    return torch.load(path, weights_only=True)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_linear_schedule_rises_then_falls_to_zero():
    factors = [steps.lr_factor(step, 100, 'linear', 0.2) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 20)
    assert max(factors) == factors[19] == 1
    assert all(a < b for a, b in zip(factors[:19], factors[1:20]))
    assert all(a > b for a, b in zip(factors[20:], factors[21:]))
    assert factors[100] == 0 < factors[99] < 0.02
    assert [steps.lr_factor(step, 100, 'constant', 0.2) for step in (0, 50, 99)] == [1, 1, 1]


@pytest.mark.parametrize('warm_up, n_steps', [(0, 10), (1, 10), (0.2, 1), (0.5, 2)])
def test_schedules_of_any_length_stay_in_range(warm_up, n_steps):
    for step in range(n_steps):
        assert 0 < steps.lr_factor(step, n_steps, 'linear', warm_up) <= 1


def test_fifty_steps_are_those_of_a_plainly_written_loop(images, here, monkeypatch):
    """Constant learning rate, no compiler: loss for loss the article's program."""
    model, plain = small_vae(), small_vae()
    losses = []
    loss_fn = program.loss_fn

    def watched(*arguments, **settings):
        terms = loss_fn(*arguments, **settings)
        losses.append(terms[0].item())
        return terms

    monkeypatch.setattr(program, 'loss_fn', watched)
    torch.manual_seed(1)
    program.train('cpu', get_dataloader(images, batch_size=2), model, n_epochs=10,
                  lr_schedule='constant')

    torch.manual_seed(1)
    optimizer = torch.optim.Adam(plain.parameters(), 0.005)
    dataloader = get_dataloader(images, batch_size=2)
    expected = [loss.item() for _ in range(10)
                for loss, _ in baseline_epoch(plain, optimizer, dataloader, 0.00025)]
    assert len(expected) == 50
    assert losses == pytest.approx(expected, rel=1e-2)     # rounding grows with the steps


class Interrupted(CelebADataset):
    """Ctrl-C comes when so many batches have been read."""

    def __init__(self, root, n_batches):
        super().__init__(root)
        self.n_left = n_batches

    def read(self, indices):
        if self.n_left == 0:
            raise KeyboardInterrupt
        self.n_left -= 1
        return super().read(indices)


@pytest.mark.parametrize('optimizer', ['adam', 'muon'])
def test_a_resumed_run_ends_with_the_same_weights(images, here, optimizer):
    def train(dataset, seed=5, **changes):
        torch.manual_seed(seed)
        program.train('cpu', batches(dataset, 4), small_vae(), n_epochs=4, optimizer=optimizer,
                      **changes)
        return weights(), [row['loss'] for row in run.load_run(RUN_PATH)['rows']]

    uninterrupted, losses = train(CelebADataset(images))
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(images, 7))                                 # three batches an epoch
    assert not same(weights(), uninterrupted)
    found, its_losses = train(CelebADataset(images), 99, resume=True)
    assert same(found, uninterrupted)
    assert its_losses == losses


SLOW = '''
import time
from dldemos.VAE import main
from dldemos.VAE.training import log, processes
show_epoch = log.show_epoch
def show_slowly(*arguments):
    show_epoch(*arguments)
    time.sleep(0.2)
log.show_epoch = show_slowly
processes.end_process(main.exit_status(main.main))
'''


def start(cwd, *arguments):
    """A training whose epochs last long enough for a loaded machine to stop it in time.

    A suite that a script runs in its background ignores Ctrl-C, and its children would too.
    """
    return subprocess.Popen(
        [sys.executable, '-c', SLOW, 'train', *map(str, arguments)], cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))


def wait_for(path, seconds=120):
    deadline = time.time() + seconds
    while not path.exists() and time.time() < deadline:
        time.sleep(0.02)
    assert path.exists()


@pytest.fixture(scope='module')
def never_stopped(tmp_path_factory):
    """The weights of a whole run in a process of its own."""
    folder = tmp_path_factory.mktemp('never_stopped')
    save_images(folder / 'images')
    done = run_module('dldemos.VAE.main', 'train', '--data_root', folder / 'images',
                      '--n_epochs', N_LONG, *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return weights(folder / program.ckpt_path)


@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_can_go_on(images, here, stop, never_stopped):
    """With nothing but --resume: all that the run was started with is taken."""
    process = start(here, '--data_root', images, '--n_epochs', N_LONG, *SMALL)
    wait_for(here / 'work_dirs/samples/epoch_0002.jpg')
    process.send_signal(stop)
    output, errors = process.communicate(timeout=60)
    n_done = len(run.load_run(RUN_PATH)['rows'])
    assert 1 < n_done < N_LONG
    assert all(torch.isfinite(value).all() for value in weights().values())
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert f'{n_done} whole epochs saved in work_dirs/run.pth' in output
        assert '--resume' in output
        assert 'Traceback' not in errors
    before = (here / RUN_PATH).read_bytes()
    for given in (['--lr', '0.003'], ['--n_images', '9'], ['--recipe', 'quick'], ['--seed', '7'],
                  ['--n_epochs', '3']):
        with pytest.raises(UserError, match='was started with .* not .*: leave .* out, or .*--res'):
            program.main(['train', '--resume', *given])
    assert (here / RUN_PATH).read_bytes() == before
    assert not same(weights(), never_stopped)
    done = run_module('dldemos.VAE.main', 'train', '--resume', '--lr', '0.005', cwd=here)
    assert done.returncode == 0, done.stderr
    assert same(weights(), never_stopped)
    assert len(run.load_run(RUN_PATH)['rows']) == N_LONG


def test_an_unfinished_run_is_kept_and_named(images, here, capsys):
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=2)
    uninterrupted = weights()
    with pytest.raises(KeyboardInterrupt):
        program.train('cpu', batches(Interrupted(images, 1)), small_vae(), n_epochs=2)
    before = (here / RUN_PATH).read_bytes()
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=1)
    output = capsys.readouterr().out
    assert '1 of 2 epochs): kept as work_dirs/run.1.pth' in output
    assert '--resume --run_path work_dirs/run.1.pth' in output
    assert (here / 'work_dirs/run.1.pth').read_bytes() == before
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=1)   # that one was whole
    assert 'run.pth held' not in capsys.readouterr().out
    program.train('cpu', get_dataloader(images), small_vae(), resume=True,
                  run_path='work_dirs/run.1.pth')
    assert same(weights(), uninterrupted)
    assert os.listdir('work_dirs/samples') == ['epoch_0002.jpg']


def test_what_is_no_run_is_not_overwritten(images, here, capsys):
    (here / 'work_dirs').mkdir()
    (here / RUN_PATH).write_text('a letter')
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=1)
    assert 'run.pth held a file that is not the state of a run' in capsys.readouterr().out
    assert (here / 'work_dirs/run.1.pth').read_text() == 'a letter'


@pytest.mark.parametrize('options, word', [
    ([], '--work_dir'), (['--work_dir', 'other', '--ckpt_path', 'dldemos/VAE/model.pth'],
                         '--ckpt_path')])
def test_a_second_run_is_refused_as_long_as_the_first_lives(images, here, capsys, options, word):
    arguments = ['--data_root', str(images), *SMALL, '--n_epochs']
    process = start(here, *arguments, 999)
    wait_for(here / 'work_dirs/log.csv')
    second = ['train', *arguments, '1', *options]
    assert exit_status(lambda: program.main(second)) == 2
    said = capsys.readouterr().err
    assert 'another training is writing to' in said and word in said
    process.kill()                                                      # the lock ends with it
    process.communicate()
    assert run.load_run(RUN_PATH)['settings']['n_epochs'] == 999
    for _ in range(2):                                       # or with the run, in this process
        assert exit_status(lambda: program.main(second)) == 0


@pytest.mark.parametrize('content, words', [
    (None, 'no run to resume'), (b'', 'damaged'), (b'PK half of a zip', 'damaged'),
    ({'weights': torch.zeros(2)}, 'not the state of a run')])
def test_a_state_that_is_no_state_is_refused_and_left(images, here, content, words):
    path = here / RUN_PATH
    path.parent.mkdir()
    if isinstance(content, dict):
        torch.save(content, path)
    elif content is not None:
        path.write_bytes(content)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(UserError, match=words):
        program.train('cpu', get_dataloader(images), small_vae(), resume=True)
    assert (path.read_bytes() if path.exists() else None) == before


def test_settings_that_cannot_change_the_weights_may_differ(images, here):
    options = ['train', '--data_root', str(images), '--n_epochs', '1', *SMALL]
    program.main(options)
    program.main([*options, '--resume', '--ckpt_path', 'other.pth', '--prior', 'flow',
                  '--n_samples', '3', '--no-compile'])
    assert set(read_settings(program.__file__, vars(program))) > set(weights_of.FREE_SETTINGS)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB; only root may mount one."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', str(folder)]
    if not shutil.which('mount') or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('no file system can be mounted here')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


def test_a_disk_that_is_really_full_leaves_the_last_state(images, small_disk):
    options = ['train', '--data_root', images, '--n_epochs', 3, *SMALL]
    done = run_module('dldemos.VAE.main', *options, cwd=small_disk)
    assert done.returncode == 0, done.stderr
    before = weights(small_disk / program.ckpt_path)
    filler = small_disk / 'filler'
    with pytest.raises(OSError), open(filler, 'wb', buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - (4 << 10))        # less than one more state
    done = run_module('dldemos.VAE.main', *options, '--seed', 1, cwd=small_disk)
    assert done.returncode == 2
    assert 'No space left on device' in done.stderr
    assert 'Traceback' not in done.stderr
    assert same(weights(small_disk / program.ckpt_path), before)
    run.load_run(small_disk / RUN_PATH)            # whole, or it would raise
    assert not [path for path in small_disk.rglob('.*.tmp')]
    filler.unlink()
    done = run_module('dldemos.VAE.main', *options, '--seed', 1, cwd=small_disk)
    assert done.returncode == 0, done.stderr


def test_a_run_leaves_a_log_and_pictures(images, here):
    held_out = batches(CelebADataset(images, n_images=3), shuffle=False)
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=3, held_out=held_out)
    with open('work_dirs/log.csv') as file:
        rows = list(csv.DictReader(file))
    assert [row['epoch'] for row in rows] == ['1', '2', '3']
    assert tuple(rows[0]) == log.COLUMNS
    for row in rows:
        assert float(row['loss']) == pytest.approx(
            float(row['reconstruction']) + 0.00025 * float(row['kl']), rel=1e-4)
        assert float(row['held_out_loss']) > 0
    assert sorted(os.listdir('work_dirs/samples')) == [f'epoch_{i:04}.jpg' for i in (1, 2, 3)]
    with Image.open('work_dirs/samples.gif') as animation:
        assert animation.n_frames == 3
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=1)
    assert os.listdir('work_dirs/samples') == ['epoch_0001.jpg']


def test_curves_are_drawn_or_a_line_says_how(here, capsys, monkeypatch):
    rows = [{'epoch': i, 'loss': 1 / i, 'reconstruction': 1 / i, 'kl': 20 + i} for i in (1, 2)]
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    log.save_curves(rows, Path('work_dirs/curves.jpg'))
    assert 'pip install matplotlib' in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.chdir(here)
    pytest.importorskip('matplotlib')
    log.save_curves(rows, Path('work_dirs/curves.jpg'))
    assert Image.open('work_dirs/curves.jpg').width > 800


@pytest.mark.parametrize('compiler', ['none', shutil.which('g++')])
def test_a_model_is_compiled_or_a_sentence_says_why_not(images, here, compiler):
    if compiler is None:
        pytest.skip('no compiler of C++ here')
    done = run_module('dldemos.VAE.main', 'train', '--data_root', images, '--n_epochs', 1,
                      '--compile', '--hiddens', 4, '--latent_dim', 3, '--device', 'cpu', cwd=here,
                      environment={'CXX': compiler, 'TORCHINDUCTOR_CACHE_DIR': str(here / 'cache')})
    if compiler == 'none':
        assert done.returncode == 2
        assert re.search('error: torch.compile fails here .*: leave --compile out', done.stderr)
    else:
        assert done.returncode == 0, done.stderr
    assert (here / program.ckpt_path).exists() == (compiler != 'none')


def test_a_frozen_layer_stays_as_it_is(images, here):
    model = small_vae()
    frozen = model.mean_linear.weight.requires_grad_(False)
    before = frozen.clone()
    program.train('cpu', get_dataloader(images), model, n_epochs=1, optimizer='muon')
    assert torch.equal(frozen, before)


@pytest.mark.parametrize('n_images, batch_size, n_processes', [
    (100, 16, 2), (33, 16, 2), (65, 16, 2), (10, 16, 3), (7, 2, 3), (64, 16, 4), (5, 4, 1)])
def test_processes_share_each_epoch(n_images, batch_size, n_processes):
    epochs = []
    for epoch in (1, 2):
        parts = [ShuffledBatches(n_images, batch_size, 3, rank, n_processes)
                 for rank in range(n_processes)]
        for part in parts:
            part.set_epoch(epoch)
        lists = [list(part) for part in parts]
        assert len({len(batches) for batches in lists}) == 1          # as many steps
        assert all(len(part) == len(batches) for part, batches in zip(parts, lists))
        sizes = [len(batch) for batches in lists for batch in batches]
        assert min(sizes) > 0
        assert max(sizes) <= batch_size + 1                           # one may join
        flat = [i for batches in lists for batch in batches for i in batch]
        assert sorted(flat) == list(range(n_images))                  # each image once
        epochs.append(flat)
    assert n_images < 6 or epochs[0] != epochs[1]


@pytest.mark.parametrize('n_images, batch_size, sizes', [
    (33, 16, [16, 17]), (32, 16, [16, 16]), (34, 16, [16, 16, 2]), (1, 16, [1]), (17, 16, [17]),
    (3, 1, [1, 1, 1])])
def test_a_last_batch_of_one_joins_the_one_before(n_images, batch_size, sizes):
    batches = ShuffledBatches(n_images, batch_size)
    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == len(sizes)


def test_a_model_whose_last_stage_leaves_one_pixel_trains_on_such_batches(images, here):
    model = VAE((4, 4, 4, 4, 4, 4), 3)
    program.train('cpu', get_dataloader(images, batch_size=3), model, n_epochs=1)
    with pytest.raises(UserError, match='a batch of one image cannot be normalised'):
        program.train('cpu', DataLoader(CelebADataset(images), 3), model, n_epochs=1)
    program.train('cpu', DataLoader(CelebADataset(images), 3, drop_last=True), model, n_epochs=1)
    with pytest.raises(UserError, match='no image to train on'):
        program.train('cpu', DataLoader(CelebADataset(images), 30, drop_last=True), model)


def test_too_few_images_for_the_processes_are_refused():
    with pytest.raises(UserError, match='cannot be shared among 3 processes'):
        ShuffledBatches(2, 16, n_processes=3)


TWO = '''
import torch
from dldemos.VAE import main
from dldemos.VAE.training import processes
train = main.train
def train_and_compare(device, dataloader, model, *arguments):
    train(device, dataloader, model, *arguments)
    for value in model.parameters():
        first, second = processes.all_gather(value.detach())
        assert torch.equal(first, second)
    print('equal weights', flush=True)
main.train = train_and_compare
processes.end_process(main.exit_status(main.main))
'''


def test_two_processes_train_one_model(images, here):
    (here / 'two.py').write_text(TWO)
    done = run_module('torch.distributed.run', '--standalone', '--nproc_per_node=2',
                      here / 'two.py', 'train', '--data_root', images, '--n_epochs', 3,
                      *SMALL, cwd=here, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('equal weights') == 1                    # one voice
    assert done.stdout.count('  epoch  ') == 1
    model = small_vae()
    weights_of.load_weights(program.ckpt_path, model)
    assert sorted(os.listdir('work_dirs')) == [
        '.run.lock', *(['curves.jpg'] if (here / 'work_dirs/curves.jpg').exists() else []),
        'log.csv', 'run.pth', 'samples', 'samples.gif', 'settings.json']
    assert len(run.load_run(RUN_PATH)['random_states']) == 2
    done = run_module('dldemos.VAE.main', 'train', '--data_root', images, '--n_epochs', 3,
                      *SMALL, '--resume', cwd=here)
    assert done.returncode == 2
    assert 'processes=2, not 1' in done.stderr


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, 'is_torchelastic_launched', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setenv('LOCAL_RANK', '1')
    with pytest.raises(UserError, match='a GPU of its own, and there are only 1: start fewer'):
        processes.join_processes(torch.device('cuda'))
