"""What the actions work on, as the settings say: weights, images, random codes.

Each is opened when it is first asked for, and once: an action that looks at no images opens none.
"""
import argparse
import copy
from functools import cached_property, partial
from pathlib import Path

import torch
from torch.utils.data import Subset

from dldemos.VAE.images.described import (
    are_others,
    is_synthetic,
    lie_otherwise,
    were_trained_on,
)
from dldemos.VAE.images.lists import NoList
from dldemos.VAE.images.saved import check_folder
from dldemos.VAE.latent.attributes import kept_directions, read_attributes
from dldemos.VAE.latent.codes import encode_all, read_codes
from dldemos.VAE.latent.kept import read_kept
from dldemos.VAE.latent.priors import PRIORS, fitted_prior, sample_codes
from dldemos.VAE.latent.read_out import ReadOut
from dldemos.VAE.load_celebA import CelebADataset, batches, find_celeba, find_images, split
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import beside_weights, printable
from dldemos.VAE.training import processes
from dldemos.VAE.training.checkpoint import (
    MODEL_SETTINGS,
    PRETRAINED,
    bundled_original,
    is_bundled,
    load_weights,
    read_record,
    sha256,
    weights_file,
)
from dldemos.VAE.training.log import ENOUGH_STEPS

N_FACES = 64                   # images that walks and attributes look at
MOST_FITTED = 20_000           # images that the linear model of attributes is fitted to, or so


class Session:
    """The model, the images and the codes of one call of the program.

    Args:
        actions: their names, in the order in which they are done.
        settings: all of main's, a namespace.
        given: those among them that were asked for on the command line, a dict.
        device: a torch.device.

    Raises:
        UserError: there are no such weights, or no such model.
    """

    def __init__(self, actions, settings, given, device):
        self.settings, self.given, self.device = settings, given, device
        self.seed, self.folder = settings.seed, settings.work_dir
        self.trains = 'train' in actions
        if 'generate' in actions and settings.save_images is not None:
            check_folder(settings.save_images)     # before hours of training
        self.weights = self.find_weights()
        self.record = {} if self.trains else read_record(self.weights)
        self.model = self.open_model()

    def find_weights(self):
        """The file of the weights: that of ckpt_path, or the bundled ones in its place."""
        path = self.settings.ckpt_path
        path = weights_file(path) if self.trains else bundled_original(weights_file(path))
        if self.trains and is_bundled(path):
            name = Path(path).stem
            raise UserError(f'training would overwrite the bundled weights {name}: give another '
                            f'--ckpt_path; --init {name} starts from them')
        if self.trains or 'ckpt_path' in self.given or Path(path).exists():
            return path
        sizes = read_record(PRETRAINED).get('settings', {})
        if any(getattr(self.settings, name) != value for name, value in model_sizes(sizes)):
            return path                            # which load_weights will miss
        print(f'nothing was trained here yet (no {path}): these are the pretrained weights, '
              f'of photographs')
        return PRETRAINED

    def open_model(self):
        """A model with the weights in use, or a new one to train."""
        sizes = dict(model_sizes(vars(self.settings)))
        for name, value in model_sizes(self.record.get('settings', {})):
            if name not in self.given:             # as it was trained
                sizes[name] = value
            elif name == 'image_size' and sizes[name] != value and is_bundled(self.weights):
                raise UserError(f'the bundled weights are of images of {value} x {value} pixels: '
                                f'leave image_size out, or train weights of another size')
        torch.manual_seed(self.settings.seed)
        try:
            model = VAE(**sizes)
        except ValueError as error:
            raise UserError(error) from error
        if not self.trains:
            load_weights(self.weights, model)
            print(printable(self.about_weights()))
        elif self.settings.init is not None:
            load_weights(weights_file(self.settings.init), model)
        return model

    def about_weights(self):
        """A line on the weights in use: what they were trained on, and what else there is."""
        images, steps = self.record.get('trained_on'), self.record.get('steps', 0)
        name = Path(self.weights).stem if is_bundled(self.weights) else self.weights
        if images is None:
            line = f'weights: {name}; nothing is known of what they were trained on'
        else:
            line = (f'weights: {name}, trained for {steps:,} step{"s" * (steps != 1)} on '
                    f'{images["n_images"]:,} images of {images.get("root", "another dataset")}')
            settings = self.record['settings']
            enough = ENOUGH_STEPS.get(settings.get('optimizer'), 0)
            if settings.get('init') is not None:
                line += f', from the weights {settings["init"]} on'
            elif steps < enough:
                line += f', too few to show faces (about {enough} do)'
        return line if is_bundled(self.weights) else (
            line + '; --ckpt_path pretrained or sharp takes bundled ones instead')

    @property
    def own_root(self):
        """Where the images that the weights were trained on lie; None: not known, or bundled."""
        return None if is_bundled(self.weights) else self.record.get('trained_on', {}).get('root')

    @cached_property
    def has_images(self):
        """Whether there are images that the weights may be shown without asking for them."""
        if self.trains or self.settings.data_root is not None:
            return True
        if is_bundled(self.weights):
            return find_celeba() is not None
        there_are = self.own_root is None or Path(self.own_root).exists()
        if not there_are:
            print(printable(f'the images in {self.own_root}, which these weights were trained on, '
                            f'are there no more: --data_root gives others'))
        return there_are

    @cached_property
    def dataset(self):
        """All images: of data_root, else those trained on, else CelebA or synthetic faces.

        Raises:
            UserError: the images that were trained on are gone, or the bundled weights are to
                look at images, and there are none but synthetic faces, which they do not know.
        """
        if not self.has_images and not is_bundled(self.weights):
            raise UserError(f'there is nothing at {self.own_root} any more: give --data_root with '
                            f'the folder where the images lie now, or with others')
        if not self.has_images:
            raise UserError('the bundled weights are of photographs, and there are none here: '
                            'give --data_root with a folder of faces, or train on synthetic faces '
                            'with `python -m dldemos.VAE.main train`')
        settings, trained_on = self.settings, self.record.get('trained_on', {})
        root, crop = settings.data_root, settings.crop
        if self.own_root is not None and root in (None, self.own_root):
            root = self.own_root                   # as they were trained on, but for what is given
            crop = crop if 'crop' in self.given else trained_on['crop']
        with processes.rank_0_first():
            dataset = CelebADataset(find_images(root), 2 * (self.model.image_size,), crop,
                                    settings.n_images, settings.cache_dir)
        if is_synthetic(dataset.root) != trained_on.get('synthetic', is_synthetic(dataset.root)):
            of, on = ('synthetic faces', 'photographs') if is_synthetic(dataset.root) else (
                'photographs', 'synthetic faces')
            print(printable(f'warning: the images in {dataset.root} are {of}, and the weights '
                            f'were trained on {on}: expect poor reconstructions'))
        elif is_bundled(self.weights) and not self.trains and lie_otherwise(dataset):
            print(printable(f'the images in {dataset.root} have not the size of CelebA, which the '
                            f'bundled weights know: --crop face finds the faces and puts them '
                            f'where CelebA has them'))
        return dataset

    @cached_property
    def splits(self):
        """(training split, held-out split) of the images, two Subsets.

        Which images weights were trained on is known by the names in their record; without
        one, as in training, by the share held_out.
        """
        dataset, trained_on = self.dataset, self.record.get('trained_on', {})
        if 'first' not in trained_on:
            return split(dataset, self.settings.held_out)
        if trained_on['synthetic'] != is_synthetic(dataset.root) or are_others(trained_on, dataset):
            return Subset(dataset, []), Subset(dataset, range(len(dataset)))
        if 'held_out' in self.given:
            print('held_out is not looked at: which images were trained on is known')
        known = were_trained_on(trained_on, dataset.names)
        return tuple(Subset(dataset, [i for i, it_was in enumerate(known) if it_was == trained])
                     for trained in (True, False))

    @cached_property
    def held_out(self):
        """The images to look at: those held out; a line says so where all were trained on."""
        training, held_out = self.splits
        if len(held_out):
            return held_out
        print(printable(f'all {len(training):,} images in {self.dataset.root} were trained on: '
                        f'what follows is of training images, none is held out'))
        return training

    @property
    def known(self):
        """The images whose codes priors and directions are fitted to: those trained on."""
        training, held_out = self.splits
        return training if len(training) else held_out

    @cached_property
    def training_batches(self):
        """The batches to train on.

        Raises:
            UserError: all images are held out.
        """
        training, held_out = self.splits
        if not len(training):
            raise UserError(f'no image is left to train on: {len(held_out)} of '
                            f'{len(self.dataset)} are held out; take more images, or a smaller '
                            f'--held_out')
        settings = self.settings
        return batches(training, settings.batch_size, seed=settings.seed, rank=processes.rank(),
                       n_processes=processes.n_processes(), mirror=settings.mirror)

    @property
    def held_out_batches(self):
        """The held-out images in order, for each epoch's loss; None where there are none."""
        return batches(self.splits[1], 64, shuffle=False) if len(self.splits[1]) else None

    @property
    def kl_weight(self):
        """That of the loss to evaluate: the one asked for, else that of the weights' training."""
        trained_at = self.record.get('settings', {}).get('kl_weight', self.settings.kl_weight)
        return self.settings.kl_weight if 'kl_weight' in self.given else trained_at

    @property
    def evaluated_batches(self):
        """The images to evaluate on, in order."""
        return batches(self.held_out, 64, shuffle=False)

    @property
    def shown_batches(self):
        """The images to look at, in the order of the seed."""
        return batches(self.held_out, N_FACES, seed=self.settings.seed)

    @cached_property
    def faces(self):
        """The first N_FACES images to look at; None where the weights may be shown none."""
        return next(iter(self.shown_batches)) if self.has_images else None

    @property
    def are_known(self):
        """Whether it is known which images are those of the weights, or some were asked for."""
        return self.trains or bool(self.record) or self.settings.data_root is not None

    @property
    def known_faces(self):
        """`faces`; None as well where other images would have to stand in for unknown ones."""
        return self.faces if self.are_known else None

    def encode_training_images(self):
        """Mean and logvar (N, latent_dim) of the codes of the images that were trained on."""
        return encode_all(self.model, self.device, batches(self.known, 64, shuffle=False))

    @property
    def read_out(self):
        """A linear model that tells attributes from codes, fitted to training images.

        Where none of the images was trained on, or all of them were, it is fitted to the first half
        of them, and judged on the others: those that it was fitted to it knows by heart. None:
        there are no attributes of these images, which a line says.
        """
        training, of_judged = self.splits[0].indices, self.held_out.indices
        half = 0 if all(map(len, self.splits)) else len(of_judged) // 2
        of_known = of_judged[:half] if half else training
        of_known = of_known[::max(1, len(of_known) // MOST_FITTED)]
        names = [self.dataset.names[i] for i in (*of_known, *of_judged)]
        try:
            attributes = read_attributes(self.dataset.root, names)
        except UserError as error:
            print(printable(f'nothing is told from the codes: {error}'))
            return None
        mean, _ = encode_all(self.model, self.device, batches(
            Subset(self.dataset, of_known), 64, shuffle=False))
        n = len(of_known)
        return ReadOut(mean, {name: has[:n] for name, has in attributes.items()},
                       {name: has[n + half:] for name, has in attributes.items()}, skip=half)

    def training_fingerprint(self):
        """A word for the images that a prior is fitted to; None: those of the bundled weights."""
        if is_bundled(self.weights):
            return None
        trained_on = self.record.get('trained_on', {})
        asked = {'data_root', 'n_images', 'crop', 'held_out'} & self.given.keys()
        if 'fingerprint' in trained_on and not asked and self.settings.data_root is None:
            return trained_on['fingerprint']
        return self.dataset.fingerprint(self.known.indices)

    def codes(self, prior, n):
        """n random codes (n, latent_dim) of a prior, the same for the same seed."""
        torch.manual_seed(self.settings.seed)
        fitted = None if prior == 'normal' else self.fitted_prior(prior)
        torch.manual_seed(self.settings.seed)      # the same codes, fitted just now or before
        return sample_codes(prior, fitted, n, self.model.latent_dim, self.settings.temperature)

    def fitted_prior(self, prior):
        """What was fitted to the codes of the images trained on; where these are gone, and nothing
        was fitted before, of the images that there are."""
        self.check_kept(prior, '.prior.pth', 'prior')
        images, kept = self, read_kept(self.weights, '.prior.pth', 'prior')
        if not self.has_training_images() and (prior in kept or Path(self.own_root).exists()):
            images = self.as_trained()
        return fitted_prior(prior, self.weights, images.training_fingerprint(),
                            images.encode_training_images)

    def check_kept(self, name, ending, what):
        """UserError where bundled weights lack what came with them: nothing is fitted to theirs."""
        if is_bundled(self.weights) and name not in read_kept(self.weights, ending, what):
            raise UserError(f'{beside_weights(self.weights, ending)} is missing or damaged, which '
                            f'came with the weights: get the whole repository again')

    @property
    def drawn_codes(self):
        """The codes that generate decodes: random ones, or those of the file `code`."""
        if self.settings.code is None:
            return self.draw(self.settings.n_samples)
        if ignored := self.given.keys() & {'prior', 'temperature', 'n_samples'}:
            print(f'not looked at, the codes being those of a file: {", ".join(sorted(ignored))}')
        return read_codes(self.settings.code, self.model.latent_dim, self.weights_hash)

    @property
    def drawn_from(self):
        """Where they come from: the name of a prior, or 'code'."""
        return self.settings.prior if self.settings.code is None else 'code'

    @property
    def weights_hash(self):
        """The SHA-256 of the weights in use."""
        return sha256(self.weights)

    def draw(self, n):
        """n random codes (n, latent_dim) of the prior of the settings."""
        return self.codes(self.settings.prior, n)

    @property
    def draw_codes(self):
        """{prior: function of a number of codes}"""
        return {prior: partial(self.codes, prior) for prior in PRIORS}

    @property
    def directions(self):
        """{attribute: (latent_dim,)}: those kept beside the weights, or of the training images.

        Raises:
            NoList: there are none, and no list says which training image has what.
        """
        self.check_kept('directions', '.directions.pth', 'directions')
        images = self if self.has_training_images() else self.as_trained()
        try:
            return kept_directions(self.weights, images.training_fingerprint(),
                                   images.codes_and_attributes)
        except NoList as error:
            raise NoList(f'{error}; or take bundled weights, whose directions need no list: '
                         f'--ckpt_path sharp') from error

    @property
    def about(self):
        """What the page of explore says of the weights, and the directions it has sliders for."""
        record = read_record(self.weights) if self.trains else self.record
        images = record.get('trained_on', {})
        try:
            directions = (self.directions if self.are_known else
                          read_kept(self.weights, '.directions.pth', 'directions')['directions'])
        except KeyError:                               # none are kept
            directions = {}
        except UserError as error:
            print(printable(f'the page has no sliders of attributes: {error}'))
            directions = {}
        return {'name': Path(self.weights).stem, 'weights': self.weights_hash[:12],
                'n_images': images.get('n_images'), 'synthetic': images.get('synthetic', False),
                'directions': directions}

    def codes_and_attributes(self):
        """Mean codes (N, latent_dim) of the training images, and {attribute: bool tensor (N,)}."""
        attributes = read_attributes(self.dataset.root,
                                     [self.dataset.names[i] for i in self.known.indices])
        return self.encode_training_images()[0], attributes

    def has_training_images(self):
        """Whether the images of this session are those trained on, for all that is known."""
        return (self.own_root is None or self.settings.data_root in (None, self.own_root)
                or len(self.splits[0]) > 0)

    def as_trained(self):
        """This session with the images that the weights were trained on, not those of data_root."""
        session = copy.copy(self)
        session.settings = argparse.Namespace(**{**vars(self.settings), 'data_root': None,
                                                 'n_images': None})
        session.given = {name: value for name, value in self.given.items()
                         if name not in ('data_root', 'n_images', 'crop', 'held_out')}
        for name in ('has_images', 'dataset', 'splits', 'held_out', 'faces'):
            vars(session).pop(name, None)
        return session


def model_sizes(settings):
    """The settings among these that make a model: (name, value) of each, values as tuples."""
    return [(name, tuple(value) if isinstance(value, list) else value)
            for name, value in settings.items() if name in MODEL_SETTINGS]
