"""A file of weights and its manifest: bundled or trained here, saved whole, loaded safely."""
import json
from pathlib import Path

import numpy as np
import torch

from dldemos.VAE.images.looks import TOLERANCE, checksum
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import (
    WEIGHT_SUFFIXES,
    atomic_write,
    beside_weights,
    printable,
    sha256,
)
from dldemos.VAE.support.settings import similar

BUNDLED_FOLDER = Path(__file__).absolute().parent / 'pretrained'
BUNDLED = ('pretrained', 'sharp', 'calibrated')           # what they are: pretrained.json ...
NAMED = f'{", ".join(BUNDLED[:-1])} or {BUNDLED[-1]}'     # in a sentence
PRETRAINED = str(BUNDLED_FOLDER / 'pretrained.pth')
# Settings that cannot change the weights: a run and the one that resumes it may differ in them
FREE_SETTINGS = ('n_samples', 'prior', 'temperature', 'attribute', 'save_images', 'code',
                 'device', 'compile', 'resume', 'run_path', 'ckpt_path', 'cache_dir', 'work_dir',
                 'data_root', 'recipe')
# What lies beside weights: those that they replaced, their manifest, what is fitted to their codes
BESIDE = ('.previous.pth', '.json', '.looks.npy', '.prior.pth', '.directions.pth')
MODEL_SETTINGS = ('hiddens', 'latent_dim', 'image_size')
ENOUGH_STEPS = {'adam': 500, 'muon': 200}    # with fewer, what is drawn is no face yet


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


def check_not_bundled(path):
    """UserError where a training would write its weights over bundled ones."""
    if is_bundled(weights_file(path)):
        name = Path(weights_file(path)).stem
        raise UserError(f'training would overwrite the bundled weights {name}: give another '
                        f'--ckpt_path; --init {name} starts from them')


def save_weights(path, model, manifest=None, looks=None):
    """Write the state dict of `model` to `path`, as the article's own script does.

    Args:
        manifest: {name: value}, written beside it as JSON, with the SHA-256 of the file.
        looks: of the images trained on, (N, 64), written beside it.
    """
    with atomic_write(path) as file:
        torch.save({name: value.contiguous() for name, value in model.state_dict().items()},
                   file)
    if manifest is not None:
        manifest = {**manifest, 'sha256': {Path(path).name: sha256(path)}}
        with atomic_write(beside_weights(path, '.json'), 'w') as file:
            file.write(json.dumps(manifest, indent=2) + '\n')
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
                            f'hiddens, latent_dim and image_size that it was trained with')
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


def read_manifest(path):
    """The manifest beside a file of weights; empty where there is none, or it is of others."""
    beside = beside_weights(path, '.json')
    if not beside.is_file() or not Path(path).is_file():
        return {}
    try:
        manifest = json.loads(beside.read_text(encoding='utf-8'))
        written_for = set(manifest['sha256'].values())
        if not is_whole(manifest):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        print(printable(f'{beside} is no manifest of weights, and is ignored'))
        return {}
    if sha256(path) not in written_for:
        print(printable(f'{beside} is of other weights than {path}, and is ignored'))
        return {}
    return manifest


def about_weights(path, manifest):
    """A line on weights in use: what they were trained on, and what else there is."""
    name = Path(path).stem if is_bundled(path) else path
    if manifest:
        images, settings, steps = (manifest[key] for key in ('trained_on', 'settings', 'steps'))
        line = (f'weights: {name}, trained for {steps:,} step{"s" * (steps != 1)} on '
                f'{images["n_images"]:,} images of {images.get("root", "another dataset")}')
        enough = ENOUGH_STEPS.get(settings.get('optimizer'), 0)
        if settings.get('init') is not None:
            line += f', from the weights {settings["init"]} on'
        elif steps < enough:
            line += f', too few to show faces (about {enough} do)'
    else:
        line = f'weights: {name}; nothing is known of what they were trained on'
    if is_bundled(path):
        return line
    return f'{line}; --ckpt_path {NAMED} takes bundled ones instead'


def is_whole(manifest):
    """Whether a manifest has what a session looks at, of the right types."""
    images = manifest['trained_on']
    return (isinstance(manifest['steps'], int) and isinstance(manifest['settings'], dict)
            and isinstance(images['n_images'], int) and ('looks' not in images or (
                all(isinstance(images[name], str) for name in ('root', 'looks'))
                and isinstance(images['tolerance'], float) and 'crop' in images)))


def looks_file(path):
    """Where the looks lie of the images that weights were trained on; the bundled share theirs."""
    return (BUNDLED_FOLDER / 'celeba.looks.npy' if is_bundled(path)
            else beside_weights(path, '.looks.npy'))


def read_looks(path, manifest):
    """(looks of the images that weights know, uint8 (N, 64) or None, tolerance in grey levels)"""
    about = manifest.get('trained_on', {})
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
