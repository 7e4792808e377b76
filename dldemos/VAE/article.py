"""The article's claims, tried: small trainings, and a picture and metrics for each claim.

    python -m dldemos.VAE.article
    python -m dldemos.VAE.article --data_root data/celebA/img_align_celeba

writes work_dirs/article/report.md and its pictures in two minutes or so. What the report says
comes from the run, also where a claim was not borne out, or could not be decided.
"""
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from tqdm import tqdm

from dldemos.VAE import main as program
from dldemos.VAE.images.grids import framed, labelled_rows, write
from dldemos.VAE.latent.metrics import sliced_wasserstein
from dldemos.VAE.latent.walks import lerp
from dldemos.VAE.load_celebA import CelebADataset, batches, find_images
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.support.files import WORK_DIR, atomic_write, printable
from dldemos.VAE.support.settings import Parser, read_settings
from dldemos.VAE.training.muon import Muon
from dldemos.VAE.training.speed import keep_freed_memory
from dldemos.VAE.training.steps import lr_factor

FOLDER = Path(WORK_DIR) / 'article'
N_FEW, N_MORE, N_HELD_OUT = 100, 1000, 300     # images: to overfit, for the sweep, held out
LEAST_IMAGES = 80                              # with which the trials still work
FEW_STEPS, SWEEP_STEPS, NAN_STEPS = 300, 250, 50
BATCH_SIZE, LR = 20, 0.005
SWEEP = (0, 0.1, 1, 10, 100)                   # multiples of main.py's kl_weight
LEARNED = 0.7            # error of a model that has learned: below this share of the mean image's
COLLAPSED = 1.5          # the same where a large kl_weight may leave nothing but the mean image


class Autoencoder(VAE):
    """A VAE without noise in its codes; to be trained at kl_weight 0."""

    def reparameterize(self, mean, logvar):
        return mean


def trained(images, n_steps, kl_weight, name, kind=VAE):
    """A VAE, or another kind of model, trained on images (N, 3, 64, 64) by main's own loop.

    All of them start from the same random weights and take the images in the same order.
    """
    torch.manual_seed(0)
    model = kind().train()
    optimizer = Muon(model, LR, (0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(
        step, n_steps, 'linear', warm_up=0.5))
    batches = (images[chosen] for chosen in shuffled(len(images), n_steps))
    bar = tqdm(batches, name, n_steps, leave=False, disable=None)
    program.train_epoch(model, bar, optimizer, schedule, weight=kl_weight)
    return model.eval()


def shuffled(n_images, n_steps):
    """The indices of n_steps batches: passes over all images, each in another order.

    The batches of a pass have BATCH_SIZE images or, to be of even size, a few less.
    """
    generator = torch.Generator().manual_seed(0)
    n_batches = math.ceil(n_images / BATCH_SIZE)
    for step in range(n_steps):
        if step % n_batches == 0:
            order = torch.randperm(n_images, generator=generator).tensor_split(n_batches)
        yield order[step % n_batches]


@torch.no_grad()
def reconstructed(model, images):
    """What the decoder makes of the means of the images' latent codes."""
    return model.decode(model.encode(images)[0]).clamp(0, 1)


@torch.no_grad()
def random_faces(model, n):
    """n faces decoded from random latent codes, the same ones for every model."""
    code = torch.randn(n, model.latent_dim, generator=torch.Generator().manual_seed(1))
    return model.decode(code).clamp(0, 1)


@torch.no_grad()
def halfway(model, images):
    """Faces decoded from the middles between the latent codes of neighbours in `images`."""
    mean, _ = model.encode(images)
    return model.decode((mean + mean.roll(1, 0)) / 2).clamp(0, 1)


def error(model, images):
    """The mean squared error of the reconstructions."""
    return F.mse_loss(reconstructed(model, images), images).item()


def ratio(a, b):
    return a / b if b else math.nan


def not_learned(models, training, most=LEARNED):
    """Why nothing can be said of models {name: model}; None if all have learned their images.

    Args:
        most: what the error of a model must stay below, in multiples of the baseline: the
            error of the mean training image.
    """
    baseline = F.mse_loss(training.mean(0).expand_as(training), training).item()
    for name, model in models.items():
        reached = error(model, training)
        if not reached < most * baseline:                # not so with NaN either
            return (f'a model did not learn its training images (mean squared error: {name} '
                    f'{reached:.4f}, their mean image {baseline:.4f}).')
    return None


def verdict(holds, metrics, doubt=None):
    """What the run says of a claim.

    Args:
        holds: whether the claim agrees with the metrics.
        metrics: the numbers that it was read from; unless all are finite, they say nothing.
        doubt: why nothing can be said, or None; see not_learned.
    """
    if not doubt and not all(map(math.isfinite, metrics)):
        doubt = 'not every metric is a finite number.'
    if doubt:
        return f'Not decided: {doubt}'
    return 'Borne out.' if holds else 'NOT borne out by this run.'


def save(picture, name):
    with atomic_write(FOLDER / name) as file:
        picture.save(file, 'JPEG', quality=92)


def section(title, text, verdict, picture, rows=()):
    """A claim's part of the report; the first of the rows of its table is their head."""
    table = ''
    for i, row in enumerate(rows):
        table += '| ' + ' | '.join(row) + ' |\n'
        if i == 0:
            table += '| ' + ' | '.join('---' for _ in row) + ' |\n'
    table += '\n' * bool(rows)
    return f'## {title}\n\n{text}\n\n{table}{verdict}\n\n![{title}]({picture})\n'


def overfitting(models, training, held_out, doubt):
    """An autoencoder overfits, a VAE does not: reconstruction of training and other images."""
    pictures = []
    for label, images in (('training', training[:10]), ('held out', held_out[:10])):
        pictures.append((label, images))
        pictures += [(name, reconstructed(model, images)) for name, model in models.items()]
    save(labelled_rows(pictures), 'overfitting.jpg')
    rows, gap = [('', 'training', 'held out', 'ratio')], {}
    for name, model in models.items():
        learned, other = error(model, training), error(model, held_out)
        gap[name] = ratio(other, learned)
        rows.append((name, f'{learned:.4f}', f'{other:.4f}', f'{gap[name]:.2f}'))
    return section(
        'An autoencoder overfits, a VAE does so less',
        f'Both were trained on the same {len(training)} images for {FEW_STEPS} steps. Mean '
        'squared error; lower is better:',
        verdict(gap['AE'] > gap['VAE'], gap.values(), doubt), 'overfitting.jpg', rows)


@torch.no_grad()
def between(models, held_out, doubt):
    """Interpolation: latent codes between latent codes mean faces."""
    pictures = []
    rows, loss = [('', 'own codes', 'middles', 'ratio')], {}
    for name, model in models.items():
        mean, _ = model.encode(held_out[:6])
        pictures += [(name, framed(model.decode(lerp(a, b, 10)), (0, -1)))
                     for a, b in zip(mean[0::2], mean[1::2])]
        ends = sliced_wasserstein(reconstructed(model, held_out), held_out)
        middles = sliced_wasserstein(halfway(model, held_out), held_out)
        loss[name] = ratio(middles, ends)
        rows.append((name, f'{ends:.0f}', f'{middles:.0f}', f'{loss[name]:.2f}'))
    save(labelled_rows(pictures), 'interpolation.jpg')
    return section(
        'Codes between codes',
        'Between the codes of held-out images (framed) the decoder is given codes that it was not '
        'trained on. Sliced Wasserstein distance x 1000 to the held-out images, of what is decoded '
        'from their own codes and from the middles between two of them; lower is better. Blur '
        'counts too, so the ratio says what going between costs.',
        verdict(loss['VAE'] < loss['AE'], loss.values(), doubt), 'interpolation.jpg', rows)


def random_codes(models, held_out, doubt):
    """Latent codes drawn from N(0, I) mean faces for a VAE, not for an autoencoder."""
    save(labelled_rows([(name, faces) for name, model in models.items()
                        for faces in random_faces(model, 20).split(10)]), 'random_codes.jpg')
    distance = {name: sliced_wasserstein(random_faces(model, len(held_out)), held_out)
                for name, model in models.items()}
    return section(
        'Random codes',
        'The same codes of N(0, I), decoded by both. Sliced Wasserstein distance x 1000 to '
        f'held-out images: AE {distance["AE"]:.0f}, VAE {distance["VAE"]:.0f}; lower is better.',
        verdict(distance['VAE'] < distance['AE'], distance.values(), doubt), 'random_codes.jpg')


@torch.no_grad()
def spread(models, training, doubt):
    """The spread of the latent codes against that of the prior."""
    ae, vae = models['AE'], models['VAE']
    codes = {'AE': ae.encode(training)[0], 'VAE': vae.reparameterize(*vae.encode(training))}
    draw_codes({**codes, 'N(0, I)': torch.randn_like(codes['VAE'])})
    off = {name: code.std(0).mean().log().abs().item() for name, code in codes.items()}
    deviations = ', '.join(
        f'{name}: standard deviation {code.std(0).mean():.2f} (of the dimensions, '
        f'{code.std(0).min():.2f} to {code.std(0).max():.2f})' for name, code in codes.items())
    return section(
        'The codes against the prior',
        f'{deviations}; the prior has 1. The two widest dimensions, with circles at 1, 2 and 3:',
        verdict(off['VAE'] < off['AE'], off.values(), doubt)
        + ' (The VAE should be nearer to the prior.)', 'codes.jpg')


def draw_codes(clouds):
    """The two widest dimensions of latent codes {name: (N, latent_dim)}."""
    size = 260
    widest = max(code.nan_to_num().abs().max().item() for code in clouds.values())
    scale = min(20, (size // 2 - 4) / max(widest, 3))       # pixels for 1
    picture = Image.new('RGB', (size * len(clouds), size + 20), 'white')
    draw = ImageDraw.Draw(picture)
    for i, (name, code) in enumerate(clouds.items()):
        x, y = size * i + size // 2, size // 2 + 10
        for radius in (scale, 2 * scale, 3 * scale):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline='silver')
        widest = code.var(0).argsort(descending=True)[:2]
        points = (code[:, widest] * scale).nan_to_num().clamp(-size // 2, size // 2)
        for a, b in points.tolist():
            draw.ellipse((x + a - 1, y + b - 1, x + a + 1, y + b + 1), fill=(30, 90, 200))
        write(draw, (size * i + 6, 4), f'{name}: std {code.std(0).mean():.2f}')
    save(picture, 'codes.jpg')


def sweep(training, held_out, kl_weight):
    """kl_weight balances reconstruction and random faces."""
    rows = [('kl_weight', 'error, held out', 'KL, nats', 'SWD x 1000 of random faces')]
    models, errors, kls = {}, [], []
    six = held_out[:6]
    pictures = [('images', torch.cat([six, torch.ones_like(six)]))]
    for weight in (multiple * kl_weight for multiple in SWEEP):
        name = label(weight)
        model = models[name] = trained(training, SWEEP_STEPS, weight, name)
        pictures.append((name, torch.cat([reconstructed(model, six), random_faces(model, 6)])))
        errors.append(error(model, held_out))
        with torch.no_grad():
            _, _, kl = program.loss_fn(held_out, held_out, *model.encode(held_out),
                                       return_terms=True)
        kls.append(kl.item())
        distance = sliced_wasserstein(random_faces(model, len(held_out)), held_out)
        rows.append((name.split()[1], f'{errors[-1]:.4f}', f'{kls[-1]:.1f}', f'{distance:.0f}'))
    columns = ['', '', 'reconstructed', '', '', '', '', '', 'random codes', '', '', '']
    save(labelled_rows(pictures, columns), 'kl_weight.jpg')
    holds = errors[0] < errors[-1] and all(a > b for a, b in zip(kls[1:], kls[2:]))
    small = dict(list(models.items())[:SWEEP.index(1) + 1])
    doubt = not_learned(small, training) or not_learned(models, training, COLLAPSED)
    return section(
        'kl_weight is a balance',
        f'Trained on {len(training)} images for {SWEEP_STEPS} steps each. Left, six images '
        'reconstructed; right, six random codes. A small weight should give a small error and '
        'much KL, a large one the reverse.',
        verdict(holds, errors + kls, doubt), 'kl_weight.jpg', rows)


def label(weight):
    """'kl_weight 0.000025': the number without an exponent."""
    return f'kl_weight {weight:.12f}'.rstrip('0').rstrip('.')


def variance_itself(images, kl_weight):
    """Predicting the variance instead of its logarithm leads to NaN."""
    tried = {'the linear layer gives the variance': lambda raw: raw,
             'the variance is cut off at 0 (ReLU)': F.relu,
             'the variance is kept positive (softplus)': F.softplus,
             'the logarithm is predicted (the VAE)': torch.exp}
    steps = {name: first_nan(images, function, NAN_STEPS, kl_weight)
             for name, function in tried.items()}
    rows = [('what is predicted', 'loss')]
    for name, step in steps.items():
        rows.append((name, f'NaN or infinite at step {step}' if step else
                     f'finite for all {NAN_STEPS} steps'))
    itself, *_, logarithm = steps.values()
    torch.manual_seed(0)
    with torch.no_grad():
        _, raw = VAE().encode(images)                # of the layer for the log-variance
    draw_variances(raw)
    return section(
        'Why the logarithm of the variance',
        'The loss needs log(variance), and a linear layer gives any number: before training, '
        f'{(raw < 0).float().mean():.0%} of what it gave for the {len(images)} images was below '
        '0.', verdict(itself is not None and logarithm is None, ()), 'variance.jpg', rows)


def first_nan(images, variance_of, n_steps, kl_weight):
    """The first step at which a VAE with another way to a variance has no finite loss, or None.

    Args:
        variance_of: a function of what the encoder's linear layer gives.
    """
    class OtherVariance(VAE):
        def encode(self, x):
            mean, raw = super().encode(x)
            return mean, variance_of(raw).log()

    torch.manual_seed(0)
    model, losses = OtherVariance().train(), []
    optimizer = torch.optim.Adam(model.parameters(), LR, fused=True)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1)
    for step in range(1, n_steps + 1):
        batch = images[torch.randint(len(images), (BATCH_SIZE,))]
        program.train_epoch(model, [batch], optimizer, schedule,
                            lambda loss, *_: losses.append(loss.item()), kl_weight)
        if not math.isfinite(losses[-1]):
            return step
    return None


def draw_variances(raw):
    """Histograms of an untrained encoder's output, as the variance and as its logarithm."""
    width, height, low, high, n_bars = 380, 150, -1.5, 3.0, 90
    picture = Image.new('RGB', (2 * width, height + 40), 'white')
    draw = ImageDraw.Draw(picture)
    for left, name, values in ((20, 'the variance itself: red is below 0', raw),
                               (width + 20, 'the logarithm of the variance, after exp', raw.exp())):
        counts = torch.histc(values, n_bars, low, high)
        bar = (width - 40) / n_bars
        for i, share in enumerate((counts / counts.max()).tolist()):
            below = low + (i + 0.5) * (high - low) / n_bars < 0
            draw.rectangle((left + i * bar, height + 20 - share * (height - 20),
                            left + (i + 1) * bar - 1, height + 20),
                           fill=(215, 60, 50) if below else (30, 90, 200))
        write(draw, (left, 4), name)
        for tick in (-1, 0, 1, 2, 3):
            write(draw, (left + (tick - low) / (high - low) * (width - 40), height + 31),
                  str(tick), anchor='mm')
    save(picture, 'variance.jpg')


def main_kl_weight():
    """The kl_weight at the top of main.py; a UserError where it is no number above 0."""
    weight = program.kl_weight
    if not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
        raise UserError(f'kl_weight is {weight!r} in main.py, and the report needs a number above '
                        f'0: write the article\'s there')
    return weight


def check_number(n_images):
    if n_images < LEAST_IMAGES:
        raise UserError(f'the report needs at least {LEAST_IMAGES} images to train on and to '
                        f'judge by, not {n_images}: take more')


def read_images(data_root, n_images):
    """At most as many images as the trials use, (N, 3, 64, 64), and where they come from.

    Raises:
        UserError: there are fewer than LEAST_IMAGES.
    """
    most = N_MORE + N_HELD_OUT
    n_images = most if n_images is None else min(most, n_images)
    check_number(n_images)                       # before a large folder is decoded
    dataset = CelebADataset(find_images(data_root), n_images=n_images)
    check_number(len(dataset))
    print('images:', dataset.describe())
    return torch.cat(list(batches(dataset, 100, shuffle=False))), printable(dataset.root)


def parted(images):
    """Images -> few to train on, more of them, and held-out ones."""
    n_held_out = min(N_HELD_OUT, len(images) // 4)
    training = images[:-n_held_out]
    return training[:N_FEW], training[:N_MORE], images[-n_held_out:]


def sections_of(images, kl_weight):
    """Train all models and try all claims; each claim's section of the report, one by one."""
    few, more, held_out = parted(images)
    print(f'1/7  autoencoder and VAE on {len(few)} images ...', flush=True)
    models = {'AE': trained(few, FEW_STEPS, 0.0, 'autoencoder', Autoencoder),
              'VAE': trained(few, FEW_STEPS, kl_weight, 'VAE')}
    doubt = not_learned(models, few)
    trials = [('reconstruction of training and held-out images',
               overfitting, models, few, held_out, doubt),
              ('interpolation between latent codes', between, models, held_out, doubt),
              ('random latent codes', random_codes, models, held_out, doubt),
              ('latent codes against the prior', spread, models, few, doubt),
              (f'{len(SWEEP)} weights of KL on {len(more)} images', sweep, more, held_out,
               kl_weight),
              ('the variance and its logarithm', variance_itself, few, kl_weight)]
    for i, (text, trial, *inputs) in enumerate(trials, 2):
        print(f'{i}/7  {text} ...', flush=True)
        yield trial(*inputs)


def main(argv=None):
    parser = Parser(prog='python -m dldemos.VAE.article', allow_abbrev=False,
                    description=__doc__.splitlines()[0])
    comments = read_settings(program.__file__, vars(program))
    for option in ('data_root', 'n_images'):
        parser.add_setting(option, None, comments[option])
    given = vars(parser.parse(argv))
    kl_weight = main_kl_weight()
    keep_freed_memory()
    images, root = read_images(given.get('data_root'), given.get('n_images'))
    sections = list(sections_of(images, kl_weight))
    with atomic_write(FOLDER / 'report.md', 'w') as file:
        file.write('# The claims of the article, tried\n\n'
                   f'Images: {len(images)} of {root}.\n\n' + '\n'.join(sections))
    print(f'report: {FOLDER / "report.md"}')


if __name__ == '__main__':
    sys.exit(exit_status(main))
