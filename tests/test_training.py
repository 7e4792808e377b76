"""What a training run keeps: schedules, states, interruptions, several processes."""
import copy
import csv
import os
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
from conftest import REPOSITORY, interrupt, run_module, save_images, small_vae
from PIL import Image
from torch.utils.data import DataLoader

from dldemos.VAE import main as program
from dldemos.VAE import weights as weights_of
from dldemos.VAE.load_celebA import CelebADataset, ShuffledBatches, batches, get_dataloader
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.settings import read_settings
from dldemos.VAE.training import log, processes, run, speed, steps

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


@pytest.mark.parametrize('optimizer', ['adam', 'muon'])
def test_a_resumed_run_ends_with_the_same_weights(images, here, monkeypatch, optimizer):
    def train(n_epochs=4, **kwargs):
        torch.manual_seed(5)
        program.train('cpu', get_dataloader(images, batch_size=4), small_vae(),
                      n_epochs=n_epochs, optimizer=optimizer, **kwargs)

    train()
    uninterrupted = weights()
    rows = run.load_run(RUN_PATH)['rows']
    show = log.show_epoch

    def stop_after_two(rows, *arguments):
        show(rows, *arguments)
        if len(rows) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(log, 'show_epoch', stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        train()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert not same(weights(), uninterrupted)
    torch.manual_seed(99)
    program.train('cpu', get_dataloader(images, batch_size=4), small_vae(), n_epochs=4,
                  resume=True, optimizer=optimizer)
    assert same(weights(), uninterrupted)
    again = run.load_run(RUN_PATH)['rows']
    assert [row['loss'] for row in again] == [row['loss'] for row in rows]


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
    options = ['--data_root', images, '--n_epochs', N_LONG, *SMALL]
    process = start(here, *options)
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
    done = run_module('dldemos.VAE.main', 'train', *options, '--resume', cwd=here)
    assert done.returncode == 0, done.stderr
    assert same(weights(), never_stopped)


def test_an_unfinished_run_is_kept_and_named(images, here, capsys, monkeypatch):
    monkeypatch.setattr(log, 'show_epoch', interrupt)
    with pytest.raises(KeyboardInterrupt):
        program.train('cpu', get_dataloader(images), small_vae(), n_epochs=2)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    before = (here / RUN_PATH).read_bytes()
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=1)
    output = capsys.readouterr().out
    assert '1 of 2 epochs): kept as work_dirs/run.1.pth' in output
    assert '--resume --run_path work_dirs/run.1.pth' in output
    assert (here / 'work_dirs/run.1.pth').read_bytes() == before
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=1)   # that one was whole
    assert 'run.pth held' not in capsys.readouterr().out


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


def test_a_state_of_other_settings_is_refused_and_left(images, here):
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=1)
    before = (here / RUN_PATH).read_bytes()
    for other in ({'lr': 0.001}, {'n_epochs': 3}, {'seed': 7}):
        with pytest.raises(UserError, match='was started with .* not .*--resume'):
            program.train('cpu', get_dataloader(images), small_vae(),
                          **{'n_epochs': 1, 'resume': True, **other})
    assert (here / RUN_PATH).read_bytes() == before


def test_resume_takes_the_runs_own_settings(images, here, monkeypatch, capsys):
    """Nothing but --resume: all that the run was started with, on the command line or not."""
    options = ['train', '--data_root', str(images), '--n_epochs', '4', '--lr', '0.002',
               '--n_images', '8', *SMALL]
    program.main(options)
    uninterrupted = weights()
    show = log.show_epoch

    def stop_after_two(rows, *arguments):
        show(rows, *arguments)
        if len(rows) == 2:
            raise KeyboardInterrupt

    def start_and_stop():
        monkeypatch.setattr(log, 'show_epoch', stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            program.main(options)
        monkeypatch.setattr(log, 'show_epoch', show)

    start_and_stop()
    for given in (['--lr', '0.003'], ['--n_images', '9'], ['--recipe', 'quick']):
        with pytest.raises(UserError, match='was started with .*: leave .* out'):
            program.main(['train', '--resume', *given])
    assert not same(weights(), uninterrupted)
    program.main(['train', '--resume', '--lr', '0.002', '--device', 'cpu'])
    assert same(weights(), uninterrupted)

    start_and_stop()
    program.main(options)                                       # sets the other one aside
    kept = here / 'work_dirs/run.1.pth'
    assert f'--resume --run_path work_dirs/{kept.name}' in capsys.readouterr().out
    os.remove(program.ckpt_path)
    program.main(['--resume', 'train', '--run_path', f'work_dirs/{kept.name}'])
    assert same(weights(), uninterrupted)
    assert len(run.load_run(kept)['rows']) == 4


def test_settings_that_cannot_change_the_weights_may_differ(images, here):
    options = ['train', '--data_root', str(images), '--n_epochs', '1', *SMALL]
    program.main(options)
    program.main([*options, '--resume', '--ckpt_path', 'other.pth', '--prior', 'flow',
                  '--n_samples', '3', '--no-compile'])
    assert set(read_settings(program.__file__, vars(program))) > set(weights_of.FREE_SETTINGS)


def test_a_full_disk_leaves_the_last_state(images, here, monkeypatch):
    program.train('cpu', get_dataloader(images), small_vae(), n_epochs=1)
    state = (here / RUN_PATH).read_bytes()
    model = (here / program.ckpt_path).read_bytes()

    def full(value, file):
        file.write(b'half of it')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    status = program.exit_status(lambda: program.train(
        'cpu', get_dataloader(images), small_vae(), n_epochs=1))
    assert status == 2
    assert (here / RUN_PATH).read_bytes() == state
    assert (here / program.ckpt_path).read_bytes() == model


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
    os.truncate(filler, filler.stat().st_size - (40 << 10))       # less than one more state
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


def test_a_compiler_that_fails_is_told_in_a_sentence(images, here, monkeypatch):
    def failing(model):
        def call(*arguments):
            raise torch._dynamo.exc.BackendCompilerFailed('inductor', OSError('no C++'), None)
        call.train = lambda: None
        return call

    monkeypatch.setattr(torch, 'compile', failing)
    with pytest.raises(UserError, match='torch.compile fails here .*: leave --compile out'):
        program.train('cpu', get_dataloader(images), small_vae(), n_epochs=2, compile=True)


def test_a_compiled_model_trains(images, here):
    program.train('cpu', get_dataloader(images), VAE((4,), 3), n_epochs=1, compile=True)
    assert (here / program.ckpt_path).exists()


def test_a_frozen_layer_stays_as_it_is(images, here):
    model = small_vae()
    frozen = model.mean_linear.weight.requires_grad_(False)
    before = frozen.clone()
    program.train('cpu', get_dataloader(images), model, n_epochs=1, optimizer='muon')
    assert torch.equal(frozen, before)


CPU = torch.device('cpu')


def gradients(model, images):
    torch.manual_seed(2)
    model.train()
    loss = program.loss_fn(images, *model(images), 0.1)
    loss.backward()
    found = {name: value.grad for name, value in model.named_parameters()}
    model.zero_grad()
    return loss.item(), found


@pytest.mark.parametrize('hiddens, image_size', [((4, 8, 8, 8, 8), 64), ((16, 32), 16), ((9,), 8)])
def test_faster_layers_give_the_same_loss_and_gradients(hiddens, image_size):
    torch.manual_seed(0)
    model = VAE(hiddens, 8, image_size)
    images = torch.rand(6, 3, image_size, image_size)
    loss, expected = gradients(model, images)
    with speed.faster_layers(model, CPU):
        faster_loss, faster = gradients(model, images)
    assert faster_loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in faster.items():
        if gradient is None:                       # a bias before a batch normalisation
            assert name.endswith('.0.bias') and 'coder.' in name
            assert expected[name].abs().max() < 1e-5
        else:
            torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-3)
    assert sum(gradient is None for gradient in faster.values()) == 2 * len(hiddens)


def test_faster_layers_are_plain_again_after_the_block():
    model = VAE((16, 32), 8)
    first = model.encoder[0][0]
    first.bias.requires_grad = False               # a user's own wish
    layers, names = [type(layer) for layer in model.modules()], list(model.state_dict())
    with pytest.raises(KeyboardInterrupt), speed.faster_layers(model, CPU):
        assert [type(layer) for layer in model.modules()] != layers
        assert list(model.state_dict()) == names
        copy.deepcopy(model)(torch.rand(2, 3, 64, 64))[0].sum().backward()
        raise KeyboardInterrupt
    assert [type(layer) for layer in model.modules()] == layers
    assert not any(layer.inplace for layer in model.modules() if isinstance(layer, torch.nn.ReLU))
    assert [name for name, value in model.named_parameters() if not value.requires_grad] == [
        'encoder.0.0.bias']


def test_a_bias_before_a_frozen_normalisation_is_trained():
    class Frozen(VAE):
        def train(self, mode=True):
            super().train(mode)
            self.encoder[0][1].eval()
            return self

    model = Frozen((16, 32), 8)
    with speed.faster_layers(model, CPU):
        assert model.encoder[0][0].bias.requires_grad
        assert not model.encoder[1][0].bias.requires_grad


def test_a_bias_that_is_computed_is_left_alone():
    model = VAE((16, 32), 8)
    torch.nn.utils.parametrize.register_parametrization(model.encoder[0][0], 'bias',
                                                        torch.nn.Softplus())
    with speed.faster_layers(model, CPU):
        model(torch.rand(2, 3, 64, 64))[0].sum().backward()
    assert model.encoder[0][0].parametrizations.bias.original.grad is not None


def test_layers_stay_as_they_are_elsewhere_than_on_a_cpu():
    model = VAE((16, 32), 8)
    layers = [type(layer) for layer in model.modules()]
    with speed.faster_layers(model, torch.device('cuda')):
        assert [type(layer) for layer in model.modules()] == layers
        assert all(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize('how', [
    {'stride': 2}, {'dilation': 2}, {'groups': 2}, {'padding_mode': 'circular'},
    {'padding': 'same'}, {'padding': 3}, {'bias': False}, {'padding': (1, 0)}, {}])
def test_only_convolutions_that_stay_the_same_are_turned(how):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(16, 4, 3, **{'padding': 1, **how})
    model, images = torch.nn.Sequential(layer, torch.nn.ReLU()), torch.rand(2, 16, 9, 9)
    expected = model(images)
    with speed.faster_layers(model, CPU):
        turns = how in ({}, {'bias': False}, {'padding': (1, 0)})
        assert isinstance(layer, speed.TurnedConv2d) == turns
        torch.testing.assert_close(model(images), expected)


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
        assert min(sizes) == parts[0].smallest() > 0
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
    assert batches.smallest() == min(sizes)


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
import sys
import torch
from dldemos.VAE import main
from dldemos.VAE.training import processes, run
saved = []
save = run.save_weights
def counted(*arguments):
    saved.append(1)
    save(*arguments)
run.save_weights = counted
leave = processes.leave_processes
def check():
    for value in model_of_this_process.parameters():
        all_of_them = processes.all_gather(value.detach())
        assert all(torch.equal(value, other) for other in all_of_them)
    print('equal weights', flush=True)
    assert processes.all_gather(len(saved)) == [3, 0], saved
    return leave()
processes.leave_processes = check
share = processes.share
def remember(model, device):
    global model_of_this_process
    model_of_this_process = model
    return share(model, device)
processes.share = remember
processes.end_process(main.exit_status(lambda: main.main(sys.argv[1:])))
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


def test_one_process_needs_no_torchrun():
    assert (processes.rank(), processes.n_processes(), processes.is_rank_0()) == (0, 1, True)
    assert processes.all_gather('x') == ['x']
    with processes.rank_0_first():
        pass
