"""A run of training: all that surrounds the loop in main.py.

Its files and what resuming it needs, its log, its progress, its device and processes.
"""
import json
import os
import platform
import time
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from dldemos.VAE.images.looks import checksum, trained_on
from dldemos.VAE.latent.elbo import calibrated_kl_weight
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import WEIGHTS, WORK_DIR, atomic_write, printable
from dldemos.VAE.support.settings import as_text
from dldemos.VAE.training import devices, log, processes, speed, steps
from dldemos.VAE.weights import (
    FREE_SETTINGS,
    MODEL_SETTINGS,
    bundled_original,
    keep_previous,
    load_safely,
    previous,
    read_looks,
    read_manifest,
    save_weights,
    weights_file,
)

RUN_FORMAT = 'dldemos.VAE run 4'


class Run:
    """A training run: a context in which its loop goes on.

        with Run(settings, device, dataloader, model, optimizer, schedule, loss_fn) as run:
            for epoch in run.epochs():
                for images in run.batches():
                    ...
                    run.count(loss, reconstruction, kl)
                run.end_epoch()

    Args:
        settings: a namespace; a run is only resumed under equal ones, FREE_SETTINGS apart.
        dataloader: of batches of images (N, 3, H, W) in [0, 1].
        loss_fn: main's, for the held-out loss.
        held_out: a dataloader of images not trained on, or None.

    `model` is the one to train with: each of its steps averages the gradients of all processes.

    Raises:
        UserError: there is nothing to train on, a batch that cannot be normalised, no run like
            this one to resume, another training in the same places, or a loss that is NaN or
            infinite (the weights of the last good epoch stay).
    """

    def __init__(self, settings, device, dataloader, model, optimizer, schedule, loss_fn,
                 held_out=None):
        if not len(dataloader):
            raise UserError('there is no image to train on: take more images')
        self.settings, self.device, self.loss_fn = settings, torch.device(device), loss_fn
        self.dataloader, self.held_out = dataloader, held_out
        self.path, self.weights = Path(run_file(settings)), Path(settings.ckpt_path)
        self.work_dir = Path(settings.work_dir)
        self.parts = {'model': model, 'optimizer': optimizer, 'schedule': schedule}
        self.images, self.looks = images_known(getattr(dataloader, 'dataset', ()), settings)
        self.saved_settings = {
            **vars(settings), 'images': self.images.get('checksum'),
            'processes': processes.n_processes(), 'steps': settings.n_epochs * len(dataloader)}
        for name in MODEL_SETTINGS:                          # as the model is, whatever was asked
            self.saved_settings[name] = getattr(model, name, self.saved_settings[name])
        self.rows = []

    def __enter__(self):
        check_places(self.weights, self.path, self.settings.init)
        model, device = self.parts['model'], self.device
        with ExitStack() as stack:
            if processes.is_rank_0():
                stack.enter_context(only_one(self.work_dir / 'run', 'work_dir'))
                stack.enter_context(only_one(self.weights, 'ckpt_path'))
            stack.enter_context(speed.faster_layers(model, device))
            self.start()
            stack.push(self.explain)
            self.model = processes.share(model, device)
            if self.settings.compile:
                self.model = torch.compile(self.model)
            stack.enter_context(devices.images_on(device, self.dataloader, self.held_out))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        return self.stack.__exit__(*exception)

    def explain(self, kind, error, traceback):
        """Say how to go on after Ctrl-C; tell in a sentence what torch cannot do."""
        if kind is KeyboardInterrupt:
            n_done = len(load_run(self.path)['rows'])
            print(printable(f'stopped: {n_done} whole epoch{"s" * (n_done != 1)} saved in '
                            f'{self.path}; to go on, give the same command again with --resume'))
        if kind is ValueError and 'more than 1 value per channel' in str(error):
            n_stages = len(self.saved_settings['hiddens'])
            raise UserError(f'a batch of one image cannot be normalised by a model of {n_stages} '
                            f'stages, whose last one leaves one pixel: take more images, larger '
                            f'batches, or a stage less in hiddens') from error
        of_compiler = ('torch._dynamo', 'torch._inductor')
        if self.settings.compile and getattr(kind, '__module__', '').startswith(of_compiler):
            reason = str(error).strip().partition('\n')[0]
            raise UserError(f'torch.compile fails here ({reason[:120]}): leave --compile '
                            f'out') from error

    def start(self):
        """Begin the run, or resume it."""
        settings, is_rank_0 = self.settings, processes.is_rank_0()
        if settings.resume:
            self.resume()
        self.replaces = self.replaces_finished()
        if self.replaces and is_rank_0:
            kept = previous(self.weights)
            instead = kept.is_file() * ', in place of those kept there'
            print(printable(f'{self.weights} holds weights of a finished run: those of this one '
                            f'replace them, and they are kept as {kept}{instead}'))
        if is_rank_0 and not settings.resume:
            set_aside(self.path)
            with atomic_write(self.work_dir / 'settings.json', 'w') as file:
                file.write(json.dumps(self.saved_settings, indent=2) + '\n')
        if is_rank_0 and (settings.run_path or not settings.resume):
            log.remove_samples(self.work_dir)                # of another run
        self.save()

    def replaces_finished(self):
        """Whether the weights in place are of another run that ended, for all that is known."""
        if not self.weights.is_file():
            return False
        manifest = read_manifest(self.weights)
        saved = manifest.get('settings', {})
        if self.settings.resume and saved and not differing(saved, self.saved_settings):
            return False
        return not manifest or manifest.get('epochs') == saved.get('n_epochs')

    def resume(self):
        """Go on where a run of the same settings was stopped."""
        state = load_run(self.path)
        saved = state['settings']
        changed = differing(saved, self.saved_settings)
        if changed[:1] == ['images']:
            raise UserError(f'the run in {self.path} was started on other images: give --data_root '
                            f'with where they lie now, or start anew without --resume')
        if changed:
            name = changed[0]
            raise UserError(f'the run in {self.path} was started with {name}={saved[name]}, not '
                            f'{self.saved_settings[name]}: leave {name} out, or start anew '
                            f'without --resume')
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        devices.set_random_state(state['random_states'][processes.rank()], self.device)
        self.rows, n_epochs = state['rows'], self.settings.n_epochs
        print(f'resuming after epoch {len(self.rows)} of {n_epochs}')
        if len(self.rows) == n_epochs:
            print('this run was finished already: its weights are written again')

    def epochs(self):
        """Yield the number of each epoch that is left; afterwards show what the run gave."""
        log.print_header(self.rows, self.settings, len(self.dataloader))
        self.started = time.time() - (self.rows[-1]['seconds'] if self.rows else 0)
        yield from range(len(self.rows) + 1, self.settings.n_epochs + 1)
        log.show_run(self.rows, self.settings, self.parts['model'])

    def batches(self):
        """Yield the batches of the next epoch, on the device, behind a bar."""
        epoch = len(self.rows) + 1
        sampler = getattr(self.dataloader, 'sampler', None)
        if hasattr(sampler, 'set_epoch'):                    # one that shuffles by the epoch
            sampler.set_epoch(epoch)
        self.model.train()
        self.totals = steps.Totals(self.device, (epoch - 1) * len(self.dataloader))
        self.epoch_started = time.time()
        self.bar = tqdm(self.dataloader, leave=False,
                        disable=None if processes.is_rank_0() else True)
        for images in self.bar:
            self.batch = steps.to_device(images, self.device)
            self.lr = self.parts['optimizer'].param_groups[0]['lr']
            yield self.batch

    def count(self, loss, reconstruction, kl):
        """Add the terms of the loss of the last batch to those of the epoch."""
        self.totals.add(len(self.batch), loss, reconstruction, kl)
        if self.totals.steps % 50 == 0:            # seldom: a device has to be waited for
            self.totals.stop_if_nan()
            self.bar.set_postfix(loss=f'{self.totals.average_loss():.4f}', refresh=False)

    def end_epoch(self):
        """Save the weights and the run, and write and print the epoch's row of the log."""
        self.totals.stop_if_nan(self.model)
        losses, n_images = self.totals.averages()
        row = {'epoch': len(self.rows) + 1, **log.named_losses(losses),
               'kl_weight': self.settings.kl_weight, 'lr': self.lr,
               'images_per_second': n_images / (time.time() - self.epoch_started)}
        if row['kl_weight'] == 'auto':
            row['kl_weight'] = calibrated_kl_weight(row['reconstruction'], self.batch[0].numel())
        if self.held_out and processes.is_rank_0():
            terms = steps.average_terms(self.loss_fn, self.device, self.held_out,
                                        self.parts['model'])
            row |= log.named_losses(terms, 'held_out_')
        self.rows.append({**row, 'seconds': time.time() - self.started})
        self.save()
        log.show_epoch(self.rows, self.settings, self.parts['model'], self.device)

    def save(self):
        """Save the state of the run and, after an epoch, the weights and their manifest.

        The state has only tensors, numbers, words, lists and dicts, which load safely.
        """
        random_states = processes.all_gather(devices.random_state(self.device))
        if not processes.is_rank_0():
            return
        if self.rows:
            if self.replaces:
                keep_previous(self.weights)
            self.replaces = False
            manifest = {
                'trained_on': self.images, 'epochs': len(self.rows),
                'steps': len(self.rows) * len(self.dataloader), 'metrics': self.rows[-1],
                'settings': self.saved_settings,
                'versions': {'python': platform.python_version(), 'torch': torch.__version__}}
            save_weights(self.weights, self.parts['model'], manifest, self.looks)
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {'format': RUN_FORMAT, 'settings': self.saved_settings, 'rows': self.rows,
                  'images': self.images, 'random_states': random_states,
                  'looks': None if self.looks is None else torch.tensor(self.looks)}
        with atomic_write(self.path) as file:
            torch.save(state, file)


def images_known(dataset, settings):
    """What `trained_on` says of a dataset; with the looks, too, of the weights to start from."""
    about, looks = trained_on(dataset)
    if looks is None or settings.init is None:
        return about, looks
    if settings.resume:                # the weights that it started from may have changed
        state = load_run(run_file(settings))
        if state['looks'] is None:     # of other images, which will be told
            return about, looks
        return {**state['images'], 'checksum': about['checksum']}, state['looks'].numpy()
    init = bundled_original(weights_file(settings.init))
    manifest = read_manifest(init)
    of_init, tolerance = read_looks(init, manifest)
    if of_init is None or manifest['trained_on'].get('incomplete'):
        about['incomplete'] = True
    if of_init is not None:
        looks = np.unique(np.concatenate([looks, of_init]), axis=0)
        about |= {'looks': checksum(looks), 'tolerance': min(tolerance, about['tolerance'])}
    return about, looks


def run_file(settings):
    """The file of the state of a run."""
    return settings.run_path or str(Path(settings.work_dir) / 'run.pth')


def load_run(path):
    """The state of a run.

    Raises:
        UserError: there is none, it is damaged (nothing of it is run), or it is foreign.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no run to resume at {path}: start one without --resume')
    state = load_safely(path, 'the state of a run', 'start anew without --resume')
    if not isinstance(state, dict) or state.get('format') != RUN_FORMAT:
        raise UserError(f'{path} is not the state of a run of this version of the program: start '
                        f'anew without --resume')
    return state


def completed(settings, given, trains=True):
    """The settings, completed by what follows from others.

    With a work_dir of its own the weights go there too, unless ckpt_path is given or edited. A
    training that resumes a run has the settings of that run, where no others are asked for.

    Args:
        settings: a namespace.
        given: {name: value} of what was asked for.
    """
    is_written = 'ckpt_path' in given or settings.ckpt_path != WEIGHTS
    if settings.work_dir != WORK_DIR and not is_written:
        settings.ckpt_path = str(Path(settings.work_dir) / 'model.pth')
    if not (trains and settings.resume):
        return settings
    for name, value in load_run(run_file(settings))['settings'].items():
        is_of_run = name not in FREE_SETTINGS or name in ('data_root', 'ckpt_path')
        if is_of_run and hasattr(settings, name) and name not in given:
            setattr(settings, name, value)
    return settings


def differing(saved, settings):
    """The settings that can change the weights and are others in a saved run.

    One that was added to main.py since then is none of that run's.
    """
    return [name for name, value in settings.items() if name in saved
            and name not in FREE_SETTINGS and as_text(value) != as_text(saved[name])]


def set_aside(path):
    """Rename the state of an unfinished run, so that a new run cannot overwrite it."""
    if not path.exists():
        return
    names = (path.with_name(f'{path.stem}.{number}{path.suffix}') for number in count(1))
    kept = next(name for name in names if not name.exists())
    try:
        state = load_run(path)
        n_done, n_epochs = len(state['rows']), state['settings']['n_epochs']
        if n_done in (0, n_epochs):
            return
        print(f'{path} held an unfinished run ({n_done} of {n_epochs} epochs): kept as {kept}; '
              f'to resume it: --resume --run_path {kept}')
    except UserError:
        print(f'{path} held a file that is not the state of a run: kept as {kept}')
    path.rename(kept)


def check_places(weights, run_path, init):
    """UserError where weights cannot go: over a file that holds none, a folder, or the run's."""
    if weights.resolve() == run_path.resolve():
        raise UserError(f'{weights} cannot hold both the weights and the state of the run: give '
                        f'another --ckpt_path or --run_path')
    if os.path.lexists(weights) and not holds_weights(weights):
        raise UserError(f'{weights} is there and is no file of weights: give another --ckpt_path')
    if init is not None and previous(weights).resolve() == Path(weights_file(init)).resolve():
        raise UserError(f'{init} would be replaced by the weights that are now at {weights}: '
                        f'rename it, and give --init its new name')


def holds_weights(path):
    """Whether a file holds a state dict."""
    try:
        weights = load_safely(path, 'a file of weights', 'give another --ckpt_path')
    except UserError:
        return False
    return isinstance(weights, dict) and all(
        isinstance(value, torch.Tensor) for value in weights.values())


@contextmanager
def only_one(path, option):
    """A lock beside `path`, which ends with its process; UserError while another one has it."""
    lock = path.with_name(f'.{path.name}.lock')
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise UserError(f'another training is writing to {path.parent} at this moment '
                        f'({lock.name} is locked): wait for its end, or give another '
                        f'--{option}') from error
