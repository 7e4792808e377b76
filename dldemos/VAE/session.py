"""What the actions work on, as the settings say: weights, images, random codes.

A training opens its own by `open_training`. For all others a Session opens each when it is first
asked for, and once: an action that looks at no images opens none.
"""
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Subset

from dldemos.VAE.images.lists import NoList
from dldemos.VAE.images.looks import are_known, looks_of, tolerance_of
from dldemos.VAE.images.which import SAMPLE_FACES, find_celeba
from dldemos.VAE.latent.attributes import attribute_directions, read_attributes
from dldemos.VAE.latent.codes import encode_all, read_codes
from dldemos.VAE.latent.fitted import DIRECTIONS, KINDS, PRIOR, load_or_fit, read_fitted
from dldemos.VAE.latent.linear_probe import LinearProbe
from dldemos.VAE.latent.priors import PRIORS, fit, sample_codes
from dldemos.VAE.load_celebA import (
    CELEBA_IMAGE,
    CelebADataset,
    batches,
    find_images,
    split,
)
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import beside_weights, printable
from dldemos.VAE.training import processes
from dldemos.VAE.training.run import images_known
from dldemos.VAE.weights import (
    MODEL_SETTINGS,
    PRETRAINED,
    about_weights,
    bundled_original,
    is_bundled,
    load_weights,
    read_looks,
    read_manifest,
    sha256,
    weights_file,
)

N_FACES = 64                   # images that walks and attributes look at
MOST_FITTED = 20_000           # images that the linear probe is fitted to, or so


def open_training(settings):
    """What main's train works on: (batches to train on, a new model, held-out batches or None).

    An image that the weights of `init` know, or that is a copy of one trained on, is not held out.

    Raises:
        UserError: there is no such model, nothing to start from, or no image to train on.
    """
    model = new_model(settings)
    if settings.init is not None and not settings.resume:
        load_weights(weights_file(settings.init), model)
    dataset = open_dataset(find_images(settings.data_root), settings, model)
    training, held_out = split(dataset, settings.held_out)
    if not len(training):
        raise UserError(f'no image is left to train on: {len(held_out)} of {len(dataset)} are held '
                        f'out; take more images, or a smaller --held_out')
    about, looks = images_known(training, settings)
    is_known = are_known(looks_of(held_out), looks, about['tolerance'])
    held_out = Subset(dataset, np.array(held_out.indices)[~is_known].tolist())
    print(f'images: {dataset.describe()}; held out: {len(held_out):,} of {len(dataset):,}')
    if is_known.any():
        print(f'not held out, since the weights will know them as copies of others: '
              f'{is_known.sum():,} images')
    if 'incomplete' in about:
        print(printable(f'it is not known which images {settings.init} was trained on: those count '
                        f'as held out'))
    return (batches(training, settings.batch_size, seed=settings.seed, rank=processes.rank(),
                    n_processes=processes.n_processes(), mirror=settings.mirror),
            model, batches(held_out, 64, shuffle=False) if len(held_out) else None)


def new_model(settings):
    """A VAE of the sizes that the settings say, with the random weights of their seed."""
    torch.manual_seed(settings.seed)
    try:
        return VAE(**{name: getattr(settings, name) for name in MODEL_SETTINGS})
    except ValueError as error:
        raise UserError(error) from error


def open_dataset(root, settings, model, **other):
    """The images of a source as the settings say, but for `other` values of crop or n_images."""
    how = {'crop': settings.crop, 'n_images': settings.n_images, **other}
    with processes.rank_0_first():
        return CelebADataset(root, 2 * (model.image_size,), cache_dir=settings.cache_dir, **how)


class Session:
    """The weights, the images and the codes that the actions after a training work on.

    Args:
        settings: all of main's, a namespace; what the weights were trained with overrules those
            among them that were not asked for, and `overruled` has what was written there.
        given: those that were asked for on the command line, a dict.
        device: a torch.device.
        trained_now: whether the weights come from this call, which has said all of them.

    Raises:
        UserError: there are no such weights, or no such model.
    """

    def __init__(self, settings, given, device, trained_now=False):
        self.settings, self.given, self.device = settings, given, device
        self.seed, self.folder, self.trained_now = settings.seed, settings.work_dir, trained_now
        self.weights = self.find_weights()
        self.manifest, self.overruled = read_manifest(self.weights), {}
        trained = {**self.manifest.get('settings', {}), 'crop': self.trained_on.get('crop')}
        for name in (*MODEL_SETTINGS, 'crop', 'kl_weight'):
            value, written = trained.get(name), getattr(settings, name)
            value = tuple(value) if isinstance(value, list) else value
            if value not in (None, written) and name not in given:
                self.overruled[name] = written
                setattr(settings, name, value)

    def find_weights(self):
        """The file of the weights: that of ckpt_path, or the bundled ones in its place."""
        path = bundled_original(weights_file(self.settings.ckpt_path))
        asked_for = self.given.keys() & {'ckpt_path', *MODEL_SETTINGS}
        if asked_for or Path(path).exists():
            return path
        print(f'nothing was trained here yet (no {path}): these are the pretrained weights')
        return PRETRAINED

    def open_model(self):
        """Make `model`, with the weights in use."""
        self.model = new_model(self.settings)
        load_weights(self.weights, self.model)
        if not self.trained_now:
            print(printable(about_weights(self.weights, self.manifest)))

    @cached_property
    def own_root(self):
        """Where the images lie that the weights were trained on; None: not known, or no more."""
        root = None if is_bundled(self.weights) else self.trained_on.get('root')
        if root is not None and not Path(root).exists():
            print(printable(f'the images in {root}, which these weights were trained on, are there '
                            f'no more'))
            return None
        return root

    @property
    def trained_on(self):
        """What the manifest says of the images that the weights were trained on: {name: value}."""
        return self.manifest.get('trained_on', {})

    @property
    def has_images(self):
        """Whether there are images, but for sample faces that would have to be drawn first."""
        if self.settings.data_root is not None:
            return True
        return 'looks' in self.trained_on and (self.own_root or find_celeba()) is not None

    @cached_property
    def splits(self):
        """(images that the weights know, held-out ones) of the source in use, two Subsets.

        The source: that of data_root, else those trained on, else CelebA, else sample faces.

        Raises:
            UserError: it is not known what the weights were trained on, and no source is given.
        """
        root = self.settings.data_root
        if root is None and 'looks' not in self.trained_on:
            raise UserError(f'it is not known which images {self.weights} was trained on: give '
                            f'--data_root with those to look at')
        known, held_out = self.known_and_held_out(find_images(root or self.own_root))
        if not self.trained_now:
            self.describe_images(known, held_out)
        return known, held_out

    def describe_images(self, known, held_out):
        """Print what the images in use are, and what that means for bundled weights."""
        dataset, is_of_bundled = held_out.dataset, is_bundled(self.weights)
        if 'held_out' in self.given:
            print('held_out is ignored: the images that the weights do not know are held out')
        print(f'images: {dataset.describe()}; held out: {len(held_out):,} of {len(dataset):,}')
        if is_of_bundled and str(dataset.root) == SAMPLE_FACES:
            print('these faces were drawn by a bundled model: metrics on them say nothing of '
                  'photographs')
        elif (is_of_bundled and not len(known) and dataset.crop == 'auto'
                and dataset.original_size != CELEBA_IMAGE):
            print('they have not the size of CelebA, which the bundled weights know: --crop face '
                  'finds the faces and puts them where CelebA has them')

    def known_and_held_out(self, root, **other):
        """(images that the weights know, held-out ones) of a source, two Subsets.

        One rule: an image is held out where its look is not among those of the images that the
        weights know.

        Args:
            other: see open_dataset.
        """
        dataset = open_dataset(root, self.settings, self.model, **other)
        is_known = are_known(dataset.looks, *self.known_looks)
        return tuple(Subset(dataset, np.flatnonzero(which).tolist())
                     for which in (is_known, ~is_known))

    @cached_property
    def known_looks(self):
        """(looks (N, 64) of the images that weights and priors were fitted to, tolerance)"""
        looks, tolerance = read_looks(self.weights, self.manifest)
        if looks is None:
            print('it is not known which images these weights were trained on: all but those '
                  'that a prior was fitted to count as held out')
        elif self.trained_on.get('incomplete'):
            print('it is not known which images the weights were trained on that these started '
                  'from: those count as held out')
        known = [np.empty((0, 64), np.uint8) if looks is None else looks]
        for kind in KINDS:
            if (fitted_to := read_fitted(self.weights, kind).get('looks')) is not None:
                known.append(fitted_to.numpy())
                tolerance = min(tolerance, tolerance_of(known[-1]))
        return np.concatenate(known), tolerance

    @property
    def dataset(self):
        """All images of the source in use."""
        return self.splits[0].dataset

    @cached_property
    def held_out(self):
        """The images to look at: those held out; a line says so where there are none."""
        known, held_out = self.splits
        if len(held_out):
            return held_out
        print(printable(f'all images in {self.dataset.root} were trained on: what follows is of '
                        f'training images, none is held out'))
        return known

    @cached_property
    def fitting(self):
        """(images whose codes priors and directions are fitted to, looks of new ones or None).

        They are those that the weights know, where they were trained on them, else in the source
        in use. Where less than half of those trained on are there, it is the first half of the
        held-out images in use, from now on known.
        """
        known, held_out = self.splits
        if self.own_root is not None:
            known, _ = self.known_and_held_out(
                self.own_root, n_images=self.manifest['settings'].get('n_images'),
                crop=self.trained_on['crop'])
        if len(known) < self.trained_on.get('n_images', 1) / 2:
            known = Subset(held_out.dataset, held_out.indices[:(len(held_out) + 1) // 2])
            return known, looks_of(known)
        return known, None

    @cached_property
    def evaluated(self):
        """The images to evaluate on: those to look at, but for what priors are fitted to now."""
        if {*PRIORS[1:]} <= read_fitted(self.weights, PRIOR).keys() or self.fitting[1] is None:
            return self.held_out
        rest = self.held_out.indices[len(self.fitting[0]):]
        return Subset(self.dataset, rest) if rest else self.held_out

    @cached_property
    def fitting_codes(self):
        """Mean and logvar (N, latent_dim) of the codes that priors and directions are fitted to."""
        images, new = self.fitting
        which = 'that these weights know'
        if new is not None:
            which = 'which these weights do not know, and which are not judged'
        n = len(images)
        print(printable(f'fitting to the codes of {n:,} image{"s" * (n != 1)} in '
                        f'{images.dataset.root}, {which}'), flush=True)
        return encode_all(self.model, self.device, batches(images, 64, shuffle=False))

    @property
    def trained_at(self):
        """The kl_weight of the weights' training; that of the settings where it is not known."""
        return self.manifest.get('settings', {}).get('kl_weight', self.settings.kl_weight)

    @property
    def evaluated_batches(self):
        """The images to evaluate on, in order."""
        return batches(self.evaluated, 64, shuffle=False)

    @property
    def shown_batches(self):
        """The images to look at, in the order of the seed."""
        return batches(self.held_out, N_FACES, seed=self.settings.seed)

    @cached_property
    def faces(self):
        """The first N_FACES images to look at; None where there are none yet."""
        return next(iter(self.shown_batches)) if self.has_images else None

    @property
    def probe(self):
        """A LinearProbe, fitted to the images in use that the weights know; None, with a line."""
        known, judged = self.splits[0].indices, self.evaluated.indices
        if not known or not len(self.splits[1]):
            print('no linear probe: it is fitted to images that the weights were trained on, and '
                  'judged on others')
            return None
        known = known[::max(1, len(known) // MOST_FITTED)]
        names = [self.dataset.names[i] for i in (*known, *judged)]
        try:
            attributes = read_attributes(self.dataset.root, names)
        except UserError as error:
            print(printable(f'no linear probe: {error}'))
            return None
        mean, _ = encode_all(self.model, self.device, batches(
            Subset(self.dataset, known), 64, shuffle=False))
        return LinearProbe(mean, {name: has[:len(known)] for name, has in attributes.items()},
                           {name: has[len(known):] for name, has in attributes.items()})

    def codes(self, prior, n):
        """n random codes (n, latent_dim) of a prior, the same for the same seed."""
        torch.manual_seed(self.settings.seed)
        fitted = None if prior == 'normal' else self.fitted_prior(prior)
        torch.manual_seed(self.settings.seed)      # the same codes, fitted just now or before
        return sample_codes(prior, fitted, n, self.model.latent_dim, self.settings.temperature)

    def fitted_prior(self, prior):
        """What was fitted to codes of these weights: before, or now."""
        def fit_it():
            codes = self.fitting_codes
            torch.manual_seed(self.settings.seed)      # whatever was encoded for it, or before
            return fit(prior, *codes)
        return self.load_or_fit(prior, PRIOR, fit_it)

    def load_or_fit(self, name, kind, fit_it):
        """What lies beside the weights, or is fitted now; nothing is to those that are bundled.

        Raises:
            UserError: bundled weights lack what came with them.
        """
        if is_bundled(self.weights) and name not in read_fitted(self.weights, kind):
            raise UserError(f'{beside_weights(self.weights, kind[0])} is missing or damaged, which '
                            f'came with the weights: get the whole repository again')
        return load_or_fit(name, self.weights, kind, lambda: (fit_it(), self.fitting[1]))

    @property
    def given_codes(self):
        """The codes that generate decodes: those of the file `code`, or of a fitted prior, or None.

        None: those of N(0, I), which generate draws itself.
        """
        if self.settings.code is None:
            return None if self.prior == 'normal' else self.random_codes(self.settings.n_samples)
        if ignored := self.given.keys() & {'prior', 'temperature', 'n_samples'}:
            print(f'ignored, the codes being those of a file: {", ".join(sorted(ignored))}')
        return read_codes(self.settings.code, self.model.latent_dim, self.weights_hash)

    @property
    def named_after(self):
        """What the picture is named after: a prior that was asked for, or 'code'."""
        if self.settings.code is not None:
            return 'code'
        return 'normal' if self.settings.prior == 'auto' else self.settings.prior

    @cached_property
    def prior(self):
        """The prior of random codes: the one asked for, else the one that suits the weights."""
        if self.settings.prior != 'auto':
            return self.settings.prior
        if self.trained_at != 'auto':
            return 'normal'
        print('random codes: of the prior flow, since training at kl_weight auto leaves the codes '
              'far from N(0, I); --prior normal takes that all the same')
        return 'flow'

    @property
    def weights_hash(self):
        """The SHA-256 of the weights in use."""
        return sha256(self.weights)

    def random_codes(self, n):
        """n random codes (n, latent_dim) of the prior in use."""
        return self.codes(self.prior, n)

    @property
    def codes_of_priors(self):
        """{prior: function of a number of codes}"""
        return {prior: partial(self.codes, prior) for prior in PRIORS}

    @property
    def directions(self):
        """{attribute: (latent_dim,)}: those kept beside the weights, or fitted now.

        Raises:
            NoList: there are none, and no list says which image has what.
        """
        try:
            return self.load_or_fit('directions', DIRECTIONS, self.fitted_directions)
        except NoList as error:
            raise NoList(f'{error}; or take bundled weights, whose directions need no list: '
                         f'--ckpt_path sharp') from error

    @property
    def about(self):
        """What the page of explore says of the weights, and the directions it has sliders for."""
        try:
            directions = self.directions
        except UserError as error:
            print(printable(f'the page has no sliders of attributes: {error}'))
            directions = {}
        return {'name': Path(self.weights).stem, 'weights': self.weights_hash[:12],
                'n_images': self.trained_on.get('n_images'), 'directions': directions}

    def fitted_directions(self):
        images, _ = self.fitting
        attributes = read_attributes(images.dataset.root,
                                     [images.dataset.names[i] for i in images.indices])
        return attribute_directions(self.fitting_codes[0], attributes)

