"""Make what is bundled: weights, the network in which faces are compared, pictures, the page.

    python benchmarks/bundled.py weights sharp FOLDER
    python benchmarks/bundled.py --help            # the others

FOLDER is that of CelebA's images, of which the first nine tenths are trained on.
"""
import json
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from common import REPOSITORY, balanced_accuracy, main, make_parser, python, table
from tqdm import tqdm

from dldemos.VAE import main as program
from dldemos.VAE import weights as weights_of
from dldemos.VAE.images.grids import labelled_rows
from dldemos.VAE.latent import attributes, priors
from dldemos.VAE.latent.codes import encode_all
from dldemos.VAE.latent.embedding import EMBEDDING, SIDE, FaceEmbedding
from dldemos.VAE.latent.fitted import DIRECTIONS, PRIOR, load_or_fit
from dldemos.VAE.latent.walks import normal_codes
from dldemos.VAE.load_celebA import CelebADataset, batches, split
from dldemos.VAE.model import VAE
from dldemos.VAE.pretrained import random_codes, vae
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import atomic_write, beside_weights, sha256

DOCS = REPOSITORY / 'docs'
TRAINING = {'pretrained': '--recipe long', 'sharp': '--recipe long --kl_weight 0.00003',
            'calibrated': '--recipe long --kl_weight auto'}
TERMS = ('CelebA (Liu et al. 2015) is for non-commercial research; so are these weights, which '
         'were trained on it. No image of it is in them or beside them.')


def weights(name, root, trained='', resume=False):
    """Make bundled weights: train, fit what goes beside them, write down what they are.

    They are trained in work_dirs/NAME, where --resume goes on with an interrupted run, or are those
    of the file `trained`. Writes NAME.pth, .prior.pth, .directions.pth and .json in
    dldemos/VAE/pretrained, and celeba.looks.npy, which all share.
    """
    if name not in TRAINING:
        raise UserError(f'there are no bundled weights {name}: there are {", ".join(TRAINING)}')
    if not trained:
        work_dir = REPOSITORY / 'work_dirs' / name
        trained = work_dir / 'model.pth'
        program.main(['train', *TRAINING[name].split(), '--data_root', root, '--work_dir',
                      str(work_dir), *['--resume'] * resume])
    model, bundled = VAE(), weights_of.weights_file(name)
    weights_of.load_weights(trained, model)
    manifest = weights_of.read_manifest(trained)
    looks, _ = weights_of.read_looks(trained, manifest)
    training, held_out = split(CelebADataset(root), 0.1)
    torch.manual_seed(0)
    with torch.no_grad():
        faces = model.eval().sample('cpu', 64)
    about = {
        'data': f'the first {len(training.dataset):,} images of CelebA, aligned and cropped, from '
                f'half-size copies of 89 x 109 pixels',
        'terms': TERMS, **manifest,
        'trained_on': {**manifest['trained_on'], 'root': 'CelebA'},
        'held_out': {'n_images': len(held_out)},
        'command': f'python -m dldemos.VAE.main train {TRAINING[name]}',
        'settings': {name: value for name, value in manifest['settings'].items()
                     if name not in (*weights_of.FREE_SETTINGS, 'images')},
        # These can be checked by who has the weights alone
        'metrics_without_data': {'parameters': sum(p.numel() for p in model.parameters()),
                                 'mean_of_64_samples': round(faces.mean().item(), 5),
                                 'std_of_64_samples': round(faces.std().item(), 5)},
    }
    beside = [beside_weights(bundled, ending) for ending, _ in (PRIOR, DIRECTIONS)]
    for path in beside:
        path.unlink(missing_ok=True)
    weights_of.save_weights(bundled, model, about, looks)         # by which evaluate knows them
    fit_beside(bundled, model, training)
    with tempfile.TemporaryDirectory() as folder:
        program.main(['evaluate', '--ckpt_path', name, '--data_root', root, '--work_dir', folder])
        about['metrics'] = json.loads((Path(folder) / 'evaluate.json').read_text())
    about['sha256'] = {path.name: sha256(path) for path in (Path(bundled), *beside)}
    with atomic_write(beside_weights(bundled, '.json'), 'w') as file:
        file.write(json.dumps(about, indent=2) + '\n')


def fit_beside(bundled, model, training):
    """Fit priors, in 16 bits, and directions to the codes of the training split."""
    codes = encode_all(model, 'cpu', batches(training, 64, shuffle=False))
    torch.manual_seed(0)

    def prior(name):
        return {key: value.half() for key, value in priors.fit(name, *codes).items()}, None

    def directions():
        return attributes.attribute_directions(codes[0], attributes_of(training)), None

    for name in priors.PRIORS[1:]:
        load_or_fit(name, bundled, PRIOR, partial(prior, name))
    load_or_fit('directions', bundled, DIRECTIONS, directions)


def attributes_of(part):
    """The attributes of a part of a dataset, {name: bool tensor (N,)}."""
    names = [part.dataset.names[i] for i in part.indices]
    return attributes.read_attributes(part.dataset.root, names)


BATCH_SIZE, LR, SHIFT, DROPOUT = 64, 0.002, 3, 0.3


def embedding(root, n_epochs=30):
    """Make the network in whose embedding of faces `evaluate` measures distances.

    Trains it to tell the 40 attributes, prints how well it does so on the held-out split, and
    writes embedding.pth in dldemos/VAE/pretrained, in half precision.
    """
    torch.manual_seed(0)
    training, held_out = split(CelebADataset(root), 0.1)
    images = training.dataset[list(training.indices)]
    labels, judged = (torch.stack(list(attributes_of(part).values()), dim=1)
                     for part in (training, held_out))
    network = FaceEmbedding()
    print(f'{sum(p.numel() for p in network.parameters()):,} parameters')
    fit_network(network, images, labels, n_epochs)
    normalise(network, embed_all(network, images))
    network.half().float()                               # as it will be read
    scores = network.classify(embed_all(network, held_out.dataset[list(held_out.indices)]))
    said = scores.sigmoid() > labels.float().mean(0)
    found = [balanced_accuracy(*columns) for columns in zip(said.T, judged.T)]
    table(['attribute', 'balanced accuracy'], (
        [name, f'{value:.3f}'] for name, value in [
            *zip(attributes_of(held_out), found), ('mean', sum(found) / len(found))]))
    with atomic_write(EMBEDDING) as file:
        torch.save({name: value.half() if value.is_floating_point() else value
                    for name, value in network.state_dict().items()}, file)


def fit_network(network, images, labels, n_epochs):
    """Train the network on images and their labels, a bool tensor (N, 40)."""
    n_batches = len(images) // BATCH_SIZE
    optimizer = torch.optim.AdamW(network.parameters(), LR, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, n_epochs * n_batches)
    for _ in tqdm(range(n_epochs), desc='training', disable=None):
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE)[:n_batches]:
            scores = network.classify(F.dropout(network(varied(images[chosen])), DROPOUT))
            loss = F.binary_cross_entropy_with_logits(scores, labels[chosen].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def varied(images):
    """Images (N, 3, H, W), half of them flipped, all moved by up to SHIFT pixels."""
    chosen = torch.rand(len(images)) < 0.5
    images[chosen] = images[chosen].flip(-1)
    rows, columns = torch.randint(2 * SHIFT + 1, (2,)).tolist()
    padded = F.pad(images, (SHIFT,) * 4, mode='replicate')
    return padded[..., rows:rows + SIDE, columns:columns + SIDE]


@torch.no_grad()
def embed_all(network, images):
    network.eval()
    return torch.cat([network(some) for some in images.split(BATCH_SIZE)])


@torch.no_grad()
def normalise(network, embedding):
    """Shift and scale the embedding, whose mean becomes 0 and total variance 1."""
    mean, scale = embedding.mean(0), embedding.var(0).sum().sqrt()
    network.classify.bias += network.classify.weight @ mean
    network.classify.weight *= scale
    network.embed.bias -= mean
    network.embed.bias /= scale
    network.embed.weight /= scale


@torch.no_grad()
def models_picture(n_faces=10):
    """Draw docs/bundled_models.jpg: what the bundled models decode from the same random numbers."""
    rows = []
    for name in weights_of.BUNDLED:
        torch.manual_seed(0)
        rows.append((f'{name}: N(0, I)', vae(name).sample(n_samples=n_faces)))
    torch.manual_seed(0)
    faces = vae('calibrated').decode(random_codes(n_faces, 'calibrated'))
    picture = labelled_rows([*rows, ('calibrated: flow', faces)])
    picture.save(DOCS / 'bundled_models.jpg', quality=92)


ATTRIBUTES, TEMPERATURE = ('Male', 'Young', 'Bald', 'Eyeglasses'), 0.85


@torch.no_grad()
def directions_picture(root, weights='sharp', seed=0, control_all=False):
    """Draw docs/directions.jpg: what attributes change in the faces of two random codes.

    Differences of means above directions controlled for other attributes, both of the same length
    in standard deviations of the codes; --control_all adds those controlled for all attributes.
    """
    model = vae(weights)
    training, _ = split(CelebADataset(root), 0.1)
    labels = attributes_of(training)
    mean, _ = encode_all(model, 'cpu', batches(training, 64, shuffle=False))
    controlled = attributes.attribute_directions(mean, labels)
    all_controlled = attributes.attribute_directions(mean, labels, controlled_for=labels)
    rows = {}
    for name in ATTRIBUTES:
        rows[f'{name}: means'] = difference_of_means(mean, labels[name])
        rows[f'{name}: controlled'] = controlled[name]
        if control_all:
            rows[f'{name}: all controlled'] = all_controlled[name]
    code = TEMPERATURE * normal_codes(model.latent_dim, 2, seed)
    picture = attributes.several_attributes(model, code, rows)
    picture.save(DOCS / 'directions.jpg', quality=92)


def difference_of_means(mean, has):
    """The difference between mean codes (N, latent_dim) with and without an attribute (N,)."""
    direction = F.normalize(mean[has].mean(0) - mean[~has].mean(0), dim=0)
    return attributes.STEP * (mean @ direction).std() * direction


def page():
    """Write docs/index.html, the page of `explore --ckpt_path sharp` where no images are."""
    with tempfile.TemporaryDirectory() as folder:
        python('-m', 'dldemos.VAE.main', 'explore', '--ckpt_path', 'sharp', folder=folder)
        shutil.copyfile(f'{folder}/work_dirs/explore.html', DOCS / 'index.html')


def page_picture(seed=1):
    """Draw docs/explore.jpg: docs/index.html with the random faces of a seed and a little smile.

    Needs `apt-get install chromium` and `pip install playwright`.
    """
    from playwright.sync_api import sync_playwright
    with sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=shutil.which('chromium'),
            args=['--no-sandbox', f'--js-flags=--random-seed={seed}'])
        view = browser.new_page(viewport={'width': 1280, 'height': 780})
        view.goto((DOCS / 'index.html').as_uri())
        view.get_by_label('Smile').fill('1')
        view.wait_for_timeout(1000)
        while view.evaluate('tasks.size'):                 # strips and grids, behind the face
            view.wait_for_timeout(100)
        view.screenshot(path=DOCS / 'explore.jpg', type='jpeg', quality=88)


parser = make_parser(__doc__, weights, embedding, models_picture, directions_picture, page,
                     page_picture)

if __name__ == '__main__':
    sys.exit(main(parser))
