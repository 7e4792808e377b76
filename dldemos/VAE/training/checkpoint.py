"""Weights on disk: saved whole or not at all, loaded without running anything in them."""
from pathlib import Path

import torch

from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import whole_file
from dldemos.VAE.training import processes

PRETRAINED = str(Path(__file__).absolute().parents[1] / 'pretrained' / 'pretrained.pth')
RUN_FORMAT = 'dldemos.VAE run 2'


def save_weights(path, model):
    """Write the state dict of `model` to `path`, as the article's own script does."""
    with whole_file(path) as file:
        torch.save({name: value.contiguous() for name, value in model.state_dict().items()},
                   file)


def load_weights(path, model):
    """Load a state dict from `path` into `model`, in place.

    Raises:
        UserError: there is no such file, it is damaged, it holds anything but
            tensors (nothing of it is run), or it is of a model of other sizes.
    """
    if not Path(path).is_file():
        raise UserError(f'there are no weights at {path}: make them with '
                        f'`python -m dldemos.VAE.main train`')
    try:
        weights = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f'{path} is damaged, or is not a file of weights alone, and nothing '
                        f'of it was run ({type(error).__name__}): remove it and train '
                        f'again') from error
    expected = model.state_dict()
    if not isinstance(weights, dict) or weights.keys() != expected.keys():
        raise UserError(f'{path} does not hold the weights of this VAE: choose another file '
                        f'with --ckpt_path, or the hiddens it was trained with')
    for name, tensor in weights.items():
        if getattr(tensor, 'shape', None) != expected[name].shape:
            raise UserError(f'{path} is of a VAE of other sizes ({name} differs): give the '
                            f'hiddens and latent_dim that it was trained with')
    model.load_state_dict(weights)


def is_pretrained(path):
    """Whether a path leads to the weights that come with the program."""
    return Path(path).resolve() == Path(PRETRAINED).resolve()


def is_finite(model):
    """Whether no weight or running statistic of `model` is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())


def start_run(path, parts, settings, device, resume):
    """Begin a run, or go on with the one whose state is at `path`.

    Args:
        parts: {name: model, optimizer, schedule ...}; each is put into its saved state.
        settings: {name: value}; a run is only gone on with under equal ones.

    Returns:
        The log of the epochs that are done, a dict each.
    """
    if resume:
        state = load_run(path)
        compare_settings(path, state['settings'], settings)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        set_random_state(state['random_states'][processes.rank()], device)
        print(f'going on after epoch {len(state["rows"])} of {settings["n_epochs"]}')
        return state['rows']
    random_states = processes.collect(random_state(device))
    if processes.is_first():
        set_aside(path)
        save_run(path, parts, settings, [], random_states)
    return []


def save_run(path, parts, settings, rows, random_states):
    """Write all that a run needs to go on: only tensors, numbers, words, lists and dicts."""
    state = {name: part.state_dict() for name, part in parts.items()}
    with whole_file(path) as file:
        torch.save({**state, 'format': RUN_FORMAT, 'settings': settings, 'rows': rows,
                    'random_states': random_states}, file)


def load_run(path):
    """The state of a run.

    Raises:
        UserError: there is none, it is damaged (nothing of it is run), or it is foreign.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no run to go on with at {path}: start one without --resume')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f'{path} is damaged, or is not the state of a run, and nothing of it '
                        f'was run ({type(error).__name__}): start anew without '
                        f'--resume') from error
    if not isinstance(state, dict) or state.get('format') != RUN_FORMAT:
        raise UserError(f'{path} is not the state of a run of this version of the program: start '
                        f'anew without --resume')
    return state


def compare_settings(path, saved, settings):
    """UserError if a run was started with other settings than those it is to go on with."""
    for name in {**saved, **settings}:
        if saved.get(name) != settings.get(name):
            raise UserError(f'the run in {path} was started with {name}={saved.get(name)}, not '
                            f'{settings.get(name)}: give the settings it was started with, or '
                            f'start anew without --resume')


def set_aside(path):
    """Rename the state of an unfinished run, so that a new run cannot overwrite it."""
    path = Path(path)
    if not path.exists():
        return
    try:
        state = load_run(path)
    except UserError:
        what = 'a file that is not the state of a run'
    else:
        n_done, n_epochs = len(state['rows']), state['settings']['n_epochs']
        if n_done in (0, n_epochs):
            return
        what = f'an unfinished run, which --resume goes on with ({n_done} of {n_epochs} epochs)'
    number = 1
    while (kept := path.with_name(f'{path.stem}.{number}{path.suffix}')).exists():
        number += 1
    path.rename(kept)
    print(f'{path} held {what}: kept as {kept}')


def how_to_go_on(path):
    """The sentence that ends an interrupted training."""
    if not Path(path).exists():
        return 'stopped before the training began: nothing was written'
    n_done = len(load_run(path)['rows'])
    return (f'stopped: {n_done} whole epoch{"s" * (n_done != 1)} saved in {path}; to go on, give '
            f'the same command again with --resume')


def random_state(device):
    """The states of the random generators of the CPU and of `device`."""
    state = {'cpu': torch.get_rng_state()}
    if device.type in ('cuda', 'mps'):
        state[device.type] = getattr(torch, device.type).get_rng_state()
    return state


def set_random_state(state, device):
    torch.set_rng_state(state['cpu'])
    if device.type != 'cpu' and device.type in state:
        getattr(torch, device.type).set_rng_state(state[device.type])
