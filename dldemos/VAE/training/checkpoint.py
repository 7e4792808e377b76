"""Weights and runs on disk: atomic writes, and nothing in them is run when they are loaded."""
import argparse
import json
import os
import platform
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from dldemos.VAE.images.looks import TOLERANCE, checksum, trained_on
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import (
    WEIGHT_SUFFIXES,
    WORK_DIR,
    atomic_write,
    beside_weights,
    printable,
    sha256,
)
from dldemos.VAE.support.settings import similar
from dldemos.VAE.training import processes
from dldemos.VAE.training.random_state import random_state, set_random_state

BUNDLED_FOLDER = Path(__file__).absolute().parents[1] / 'pretrained'
BUNDLED = ('pretrained', 'sharp', 'calibrated')           # what they are: pretrained.json ...
NAMED = 'pretrained, sharp or calibrated'
PRETRAINED = str(BUNDLED_FOLDER / 'pretrained.pth')
RUN_FORMAT = 'dldemos.VAE run 4'
# Settings that cannot change the weights: a run and the one that resumes it may differ in them
FREE_SETTINGS = ('n_samples', 'prior', 'temperature', 'attribute', 'save_images', 'code',
                 'device', 'compile', 'resume', 'run_path', 'ckpt_path', 'cache_dir', 'work_dir',
                 'data_root', 'recipe')
# What lies beside weights: those that they replaced, their manifest, what is fitted to their codes
BESIDE = ('.previous.pth', '.json', '.looks.npy', '.prior.pth', '.directions.pth')
MODEL_SETTINGS = ('hiddens', 'latent_dim', 'image_size')


def weights_file(name):
    """The file of weights that a name means: one of BUNDLED, or a path."""
    return str(BUNDLED_FOLDER / f'{name}.pth') if name in BUNDLED else name


def bundled_original(path):
    """The bundled file that a file of weights is a copy of, or its own path."""
    for original in map(weights_file, BUNDLED):
        if (Path(path).is_file() and Path(original).is_file()
                and Path(path).stat().st_size == Path(original).stat().st_size
                and sha256(path) == sha256(original)):
            return original
    return path


def is_bundled(path):
    """Whether a path leads to bundled weights."""
    return Path(path).resolve().parent == BUNDLED_FOLDER.resolve()


def save_weights(path, model, record=None, looks=None):
    """Write the state dict of `model` to `path`, as the article's own script does.

    Args:
        record: {name: value}, written beside it as JSON, with the SHA-256 of the file.
        looks: of the images trained on, (N, 64), written beside it.
    """
    with atomic_write(path) as file:
        torch.save({name: value.contiguous() for name, value in model.state_dict().items()},
                   file)
    if record is not None:
        record = {**record, 'sha256': {Path(path).name: sha256(path)}}
        with atomic_write(beside_weights(path, '.json'), 'w') as file:
            file.write(json.dumps(record, indent=2) + '\n')
    if looks is not None:
        with atomic_write(looks_file(path)) as file:
            np.save(file, looks)


def load_weights(path, model):
    """Load a state dict from `path` into `model`, in place.

    Raises:
        UserError: there is no such file, it is damaged, it holds anything but
            tensors (nothing of it is run), or it is of a model of other sizes.
    """
    if not Path(path).is_file():
        raise UserError(f'there are no weights at {path}{similar(path, BUNDLED)}: make them with '
                        f'`python -m dldemos.VAE.main train`, or take bundled ones with '
                        f'--ckpt_path {NAMED}')
    weights = load_safely(path, 'a file of weights alone', 'get the whole repository again'
                          if is_bundled(path) else 'remove it and train again')
    expected = model.state_dict()
    if not isinstance(weights, dict) or weights.keys() != expected.keys():
        raise UserError(f'{path} does not hold the weights of this VAE: choose another file '
                        f'with --ckpt_path, or the hiddens it was trained with')
    for name, tensor in weights.items():
        if getattr(tensor, 'shape', None) != expected[name].shape:
            raise UserError(f'{path} is of a VAE of other sizes ({name} differs): give the '
                            f'hiddens and latent_dim that it was trained with')
    model.load_state_dict(weights)


def load_safely(path, what, advice):
    """What torch.save wrote, of tensors and plain values alone; UserError for anything else."""
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f'{path} is damaged, or is not {what}, and nothing of it was run '
                        f'({type(error).__name__}): {advice}') from error


def read_record(path):
    """The record beside a file of weights; empty where there is none, or none of these weights."""
    beside = beside_weights(path, '.json')
    if not beside.is_file() or not Path(path).is_file():
        return {}
    try:
        record = json.loads(beside.read_text(encoding='utf-8'))
        written_for = set(record['sha256'].values())
        if not is_whole(record):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        print(printable(f'{beside} is no record of weights, and is ignored'))
        return {}
    if sha256(path) not in written_for:
        print(printable(f'{beside} is of other weights than {path}, and is ignored'))
        return {}
    return record


def is_whole(record):
    """Whether a record has what a session looks at, of the right types."""
    images = record['trained_on']
    return (isinstance(record['steps'], int) and isinstance(record['settings'], dict)
            and isinstance(images['n_images'], int) and ('looks' not in images or (
                all(isinstance(images[name], str) for name in ('root', 'looks'))
                and isinstance(images['tolerance'], float) and 'crop' in images)))


def looks_file(path):
    """Where the looks lie of the images that weights were trained on; the bundled share theirs."""
    return (BUNDLED_FOLDER / 'celeba.looks.npy' if is_bundled(path)
            else beside_weights(path, '.looks.npy'))


def read_looks(path, record):
    """(looks of the images that weights know, uint8 (N, 64) or None, tolerance in grey levels)"""
    about = record.get('trained_on', {})
    if 'looks' not in about:
        return None, TOLERANCE
    try:
        looks = np.load(looks_file(path))
    except Exception:                  # a damaged file can fail in any way
        looks = None
    if looks is None or checksum(looks) != about['looks']:
        print(printable(f'{looks_file(path)} is missing or of other weights, and is ignored'))
        return None, TOLERANCE
    return looks, about['tolerance']


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
    record = read_record(init)
    of_init, tolerance = read_looks(init, record)
    if of_init is None or record['trained_on'].get('incomplete'):
        about['incomplete'] = True
    if of_init is not None:
        looks = np.unique(np.concatenate([looks, of_init]), axis=0)
        about |= {'looks': checksum(looks), 'tolerance': min(tolerance, about['tolerance'])}
    return about, looks


def previous(path):
    """Where weights go that a new run replaces: a.previous.pth for a.pth."""
    path = Path(path)
    return beside_weights(path, f'.previous{path.suffix if path.suffix in WEIGHT_SUFFIXES else ""}')


def keep_previous(path):
    """Copy weights that a run is about to replace, and what lies beside them."""
    for source, kept in ((Path(path), previous(path)), *(
            (beside_weights(path, ending), beside_weights(path, f'.previous{ending}'))
            for ending in BESIDE[1:])):
        kept.unlink(missing_ok=True)
        if source.is_file():
            with atomic_write(kept) as file:
                file.write(source.read_bytes())


def is_finite(model):
    """Whether no weight or running statistic of `model` is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())


class Run:
    """A training run on disk: its weights and what they are, and all that resuming it needs.

    Args:
        settings: a namespace; a run is only resumed under equal ones, FREE_SETTINGS apart.
        device: where it trains.
        n_steps: of all epochs together.
        dataset: of the images to train on.
        parts: {'model': ..., 'optimizer': ..., 'schedule': ...}; each has a state dict.
    """

    def __init__(self, settings, device, n_steps, dataset, parts):
        self.path, self.weights = run_file(settings), settings.ckpt_path
        self.work_dir = Path(settings.work_dir)
        self.resume, self.device = settings.resume, device
        self.images, self.looks = images_known(dataset, settings)
        self.parts, model = parts, parts['model']
        self.settings = {**vars(settings), 'processes': processes.n_processes(), 'steps': n_steps,
                         'images': self.images.get('checksum')}
        for name in MODEL_SETTINGS:                          # as the model is, whatever was asked
            self.settings[name] = getattr(model, name, self.settings[name])

    def start(self):
        """Begin the run, or resume it; returns the log of the epochs that are done."""
        self.replaces = self.replaces_finished()
        if self.replaces and processes.is_rank_0():
            instead = previous(self.weights).is_file() * ', in place of those kept there'
            print(printable(f'{self.weights} holds weights of a finished run: they are kept as '
                            f'{previous(self.weights)}{instead}, when the first epoch ends'))
        if self.resume:
            state = load_run(self.path)
            compare_settings(self.path, state['settings'], self.settings)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            set_random_state(state['random_states'][processes.rank()], self.device)
            n_done, n_epochs = len(state['rows']), self.settings['n_epochs']
            print(f'resuming after epoch {n_done} of {n_epochs}')
            if n_done == n_epochs:
                print('this run was finished already: its weights are written again')
                self.save(state['rows'])
            return state['rows']
        random_states = processes.all_gather(random_state(self.device))
        if processes.is_rank_0():
            set_aside(self.path)
            self.save_state([], random_states)
            with atomic_write(self.work_dir / 'settings.json', 'w') as file:
                file.write(json.dumps(self.settings, indent=2) + '\n')
        return []

    def replaces_finished(self):
        """Whether the weights in place are of another run that ended, for all that is known."""
        if not Path(self.weights).is_file() or not Path(self.weights).stat().st_size:
            return False
        record = read_record(self.weights)
        settings = record.get('settings', {})
        if self.resume and settings == json.loads(json.dumps(self.settings)):
            return False
        return not record or record.get('epochs') == settings.get('n_epochs')

    @contextmanager
    def under_way(self):
        """Keep other runs from this folder and these weights; say how to resume after Ctrl-C."""
        check_places(self.weights, self.path, self.settings['init'])
        with ExitStack() as stack:
            if processes.is_rank_0():
                for path, option in ((self.work_dir / 'run', 'work_dir'),
                                     (Path(self.weights), 'ckpt_path')):
                    stack.enter_context(only_one(path, option))
            try:
                yield
            except KeyboardInterrupt:
                print(printable(how_to_resume(self.path)))
                raise

    def save(self, rows):
        """Save weights, their record and the state of the run, at the end of an epoch."""
        random_states = processes.all_gather(random_state(self.device))
        if processes.is_rank_0():
            if self.replaces:
                keep_previous(self.weights)
            self.replaces = False
            save_weights(self.weights, self.parts['model'], self.record(rows), self.looks)
            self.save_state(rows, random_states)

    def save_state(self, rows, random_states):
        """Write only tensors, numbers, words, lists and dicts, which load safely."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        with atomic_write(self.path) as file:
            torch.save({**state, 'format': RUN_FORMAT, 'settings': self.settings, 'rows': rows,
                        'images': self.images, 'random_states': random_states,
                        'looks': None if self.looks is None else torch.tensor(self.looks)}, file)

    def record(self, rows):
        """What the weights are, for the JSON beside them."""
        steps = self.settings['steps'] * len(rows) // self.settings['n_epochs']
        return {'trained_on': self.images, 'epochs': len(rows), 'steps': steps,
                'metrics': rows[-1], 'settings': self.settings,
                'versions': {'python': platform.python_version(), 'torch': torch.__version__}}


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


def check_places(weights, run_path, init=None):
    """UserError where weights cannot go: over a file that holds none, a folder, or the run's."""
    path = Path(weights)
    if path.resolve() == Path(run_path).resolve():
        raise UserError(f'{path} cannot hold both the weights and the state of the run: give '
                        f'another --ckpt_path or --run_path')
    if os.path.lexists(path) and not holds_weights(path):
        raise UserError(f'{path} is there and is no file of weights: give another --ckpt_path')
    if beside := [ending for ending in BESIDE if path.name.endswith(ending) and ending != '.json']:
        raise UserError(f'{path} is no name for weights: what ends in {beside[0]} lies beside '
                        f'others; give another --ckpt_path')
    if init is not None and previous(path).resolve() == Path(weights_file(init)).resolve():
        raise UserError(f'{init} would be replaced by the weights that are now at {path}: rename '
                        f'it, and give --init its new name')
    if previous(path).is_dir():
        raise UserError(f'{previous(path)} is a folder, and a place for weights that are replaced: '
                        f'rename it')


def holds_weights(path):
    """Whether a file holds a state dict, or nothing at all."""
    if not path.is_file():
        return False
    try:
        weights = path.stat().st_size and torch.load(path, map_location='cpu', weights_only=True)
        return not weights or all(isinstance(value, torch.Tensor) for value in weights.values())
    except PermissionError:
        raise
    except Exception:                  # what holds anything else can fail in any way
        return False


def run_file(settings):
    """The file of the state of a run."""
    return settings.run_path or str(Path(settings.work_dir) / 'run.pth')


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


def completed(settings, given, trains=True):
    """The settings, completed by what follows from others.

    With a work_dir of its own and no ckpt_path given, the weights go there too. A training that
    resumes a run has the settings of that run.

    Args:
        settings: a namespace.
        given: {name: value} of what was asked for, which must be as the run has it.
    """
    if settings.work_dir != WORK_DIR and 'ckpt_path' not in given:
        settings.ckpt_path = str(Path(settings.work_dir) / 'model.pth')
    if not (trains and settings.resume):
        return settings
    path = run_file(settings)
    saved = load_run(path)['settings']
    asked = {name: getattr(settings, name) for name in given if hasattr(settings, name)}
    compare_settings(path, {name: saved.get(name) for name in asked}, asked)
    resumed = {name: value for name, value in saved.items()
               if hasattr(settings, name) and (
                   name not in FREE_SETTINGS
                   or name in ('data_root', 'ckpt_path') and name not in given)}
    return argparse.Namespace(**{**vars(settings), **resumed})


def compare_settings(path, saved, settings):
    """UserError if a run was started with other settings than those it is to be resumed with.

    A setting that was added to main.py since then counts as what it was not: a difference only
    where it was asked for.
    """
    if saved.get('images') != settings.get('images'):
        raise UserError(f'the run in {path} was started on other images: give --data_root with '
                        f'where they lie now, or start anew without --resume')
    for name in saved:
        if name not in FREE_SETTINGS and saved[name] != settings.get(name):
            raise UserError(f'the run in {path} was started with {name}={saved.get(name)}, not '
                            f'{settings.get(name)}: leave {name} out, or start anew without '
                            f'--resume')


def set_aside(path):
    """Rename the state of an unfinished run, so that a new run cannot overwrite it."""
    path = Path(path)
    if not path.exists():
        return
    try:
        state = load_run(path)
    except UserError:
        what, how = 'a file that is not the state of a run', ''
    else:
        n_done, n_epochs = len(state['rows']), state['settings']['n_epochs']
        if n_done in (0, n_epochs):
            return
        what, how = f'an unfinished run ({n_done} of {n_epochs} epochs)', (
            '; to resume it: --resume --run_path {}')
    number = 1
    while (kept := path.with_name(f'{path.stem}.{number}{path.suffix}')).exists():
        number += 1
    path.rename(kept)
    print(f'{path} held {what}: kept as {kept}{how.format(kept)}')


def how_to_resume(path):
    """The sentence that ends an interrupted training."""
    if not Path(path).exists():
        return 'stopped before the training began: nothing was written'
    n_done = len(load_run(path)['rows'])
    return (f'stopped: {n_done} whole epoch{"s" * (n_done != 1)} saved in {path}; to go on, give '
            f'the same command again with --resume')
