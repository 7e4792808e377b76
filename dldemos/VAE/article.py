"""The article's claims, tried: small trainings, and a picture or a figure for each claim.

    python -m dldemos.VAE.article
    python -m dldemos.VAE.article --data_root data/celebA/img_align_celeba

writes work_dirs/article/report.md and its pictures in two minutes or so. What the report says
comes from the run, also where a claim was not borne out.
"""
import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from tqdm import tqdm

from dldemos.VAE.images.grids import framed, labelled_rows
from dldemos.VAE.latent.metrics import sliced_wasserstein
from dldemos.VAE.latent.walks import kl_per_dimension, lerp
from dldemos.VAE.load_celebA import CelebADataset, batches, find_images
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import exit_status
from dldemos.VAE.support.files import atomic_write
from dldemos.VAE.training.muon import Muon
from dldemos.VAE.training.speed import keep_freed_memory

FOLDER = Path('work_dirs/article')
N_FEW, N_MORE, N_HELD_OUT = 100, 1000, 300     # images: to overfit, for the sweep, held out
FEW_EPOCHS, SWEEP_EPOCHS, NAN_STEPS = 60, 5, 50
BATCH_SIZE, LR = 20, 0.005
KL_WEIGHT = 0.00025
SWEEP = (0.0, 0.00003, 0.00025, 0.0025, 0.025)


def fit(model, images, n_epochs, kl_weight, name, noise=True):
    """Train on images (N, 3, 64, 64); without noise and with kl_weight 0, an autoencoder."""
    torch.manual_seed(0)
    optimizer = Muon(model, LR, (0.9, 0.99))
    n_steps = n_epochs * (len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, 2 * (step + 1) / n_steps, 2 * (1 - step / n_steps)))
    model.train()
    for _ in tqdm(range(n_epochs), desc=name, leave=False, disable=None):
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE)[:n_steps // n_epochs]:
            x = images[chosen]
            mean, logvar = model.encode(x)
            code = model.reparameterize(mean, logvar) if noise else mean
            kl = kl_per_dimension(mean, logvar).sum()
            loss = F.mse_loss(model.decode(code), x) + kl_weight * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def reconstructed(model, images):
    return model.decode(model.encode(images)[0]).clamp(0, 1)


@torch.no_grad()
def random_faces(model, n):
    code = torch.randn(n, model.latent_dim, generator=torch.Generator().manual_seed(1))
    return model.decode(code).clamp(0, 1)


@torch.no_grad()
def halfway(model, images):
    """Faces decoded from the middles between the codes of neighbours in `images`."""
    mean, _ = model.encode(images)
    return model.decode((mean + mean.roll(1, 0)) / 2).clamp(0, 1)


def save(picture, name):
    with atomic_write(FOLDER / name) as file:
        picture.save(file, 'JPEG', quality=92)


def verdict(holds):
    return 'Borne out.' if holds else 'NOT borne out by this run.'


def overfitting(ae, vae, seen, unseen):
    """An autoencoder overfits, a VAE does not: reconstruction of training and other images."""
    error = {(name, part): F.mse_loss(reconstructed(model, images), images).item()
             for name, model in (('AE', ae), ('VAE', vae))
             for part, images in (('training', seen), ('held out', unseen))}
    save(labelled_rows([(label, images[:10]) for label, images in (
        ('training', seen), ('AE', reconstructed(ae, seen[:10])),
        ('VAE', reconstructed(vae, seen[:10])), ('held out', unseen),
        ('AE', reconstructed(ae, unseen[:10])), ('VAE', reconstructed(vae, unseen[:10])))]),
        'overfitting.jpg')
    gap = {name: error[name, 'held out'] / error[name, 'training'] for name in ('AE', 'VAE')}
    rows = ''.join(f'| {name} | {error[name, "training"]:.4f} | {error[name, "held out"]:.4f} | '
                   f'{gap[name]:.2f} |\n' for name in ('AE', 'VAE'))
    return ('## An autoencoder overfits, a VAE does so less\n\n'
            f'Both were trained on the same {len(seen)} images for {FEW_EPOCHS} epochs. Mean '
            f'squared error:\n\n| | training | held out | ratio |\n| --- | --- | --- | --- |\n'
            f'{rows}\n{verdict(gap["AE"] > gap["VAE"])}\n\n![reconstructions](overfitting.jpg)\n')


def between(ae, vae, unseen):
    """Codes between codes mean faces."""
    rows = []
    for name, model in (('AE', ae), ('VAE', vae)):
        with torch.no_grad():
            mean, _ = model.encode(unseen[:6])
            for a, b in zip(mean[0::2], mean[1::2]):
                rows.append((name, framed(model.decode(lerp(a, b, 10)), (0, -1))))
    save(labelled_rows(rows), 'interpolation.jpg')
    distance = {(name, place): sliced_wasserstein(images_of(model, unseen), unseen)
                for name, model in (('AE', ae), ('VAE', vae))
                for place, images_of in (('ends', reconstructed), ('middles', halfway))}
    loss = {name: distance[name, 'middles'] / distance[name, 'ends'] for name in ('AE', 'VAE')}
    table = ''.join(f'| {name} | {distance[name, "ends"]:.0f} | {distance[name, "middles"]:.0f} | '
                    f'{loss[name]:.2f} |\n' for name in ('AE', 'VAE'))
    return ('## Codes between codes\n\nBetween the codes of held-out images (framed) the decoder '
            'is asked for faces that it has never seen. Sliced Wasserstein distance x 1000 to the '
            'held-out images, of what is decoded from their own codes and from the middles '
            'between two of them; less is nearer. Blur counts too, so the ratio says what going '
            f'between costs.\n\n| | own codes | middles | ratio |\n| --- | --- | --- | --- |\n'
            f'{table}\n{verdict(loss["VAE"] < loss["AE"])}\n\n'
            '![interpolation](interpolation.jpg)\n')


def random_codes(ae, vae, unseen):
    """Codes drawn from N(0, I) mean faces for a VAE, not for an autoencoder."""
    save(labelled_rows([(name, faces) for name, model in (('AE', ae), ('VAE', vae))
                        for faces in random_faces(model, 20).split(10)]), 'random_codes.jpg')
    distance = {name: sliced_wasserstein(random_faces(model, len(unseen)), unseen)
                for name, model in (('AE', ae), ('VAE', vae))}
    return ('## Random codes\n\nThe same codes of N(0, I), decoded by both. Sliced Wasserstein '
            f'distance x 1000 to held-out images: AE {distance["AE"]:.0f}, VAE '
            f'{distance["VAE"]:.0f}; less is nearer.\n\n'
            f'{verdict(distance["VAE"] < distance["AE"])}\n\n![random codes](random_codes.jpg)\n')


@torch.no_grad()
def spread(ae, vae, seen):
    """The codes' spread against the prior."""
    codes = {'AE': ae.encode(seen)[0], 'VAE': vae.reparameterize(*vae.encode(seen))}
    size, scale = 260, 20
    picture = Image.new('RGB', (3 * size, size + 20), 'white')
    draw = ImageDraw.Draw(picture)
    clouds = {**codes, 'N(0, I)': torch.randn_like(codes['VAE'])}
    for i, (name, code) in enumerate(clouds.items()):
        x, y = size * i + size // 2, size // 2 + 10
        for radius in (scale, 2 * scale, 3 * scale):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline='silver')
        widest = code.var(0).argsort(descending=True)[:2]
        for a, b in (code[:, widest] * scale).clamp(-size // 2, size // 2).tolist():
            draw.ellipse((x + a - 1, y + b - 1, x + a + 1, y + b + 1), fill=(30, 90, 200))
        draw.text((size * i + 6, 4), f'{name}: std {code.std(0).mean():.2f}', fill='black')
    save(picture, 'codes.jpg')
    off = {name: abs(code.std(0).mean().log().item()) for name, code in codes.items()}
    return ('## The codes against the prior\n\n'
            + ', '.join(f'{name}: standard deviation {code.std(0).mean():.2f} (of the dimensions, '
                        f'{code.std(0).min():.2f} to {code.std(0).max():.2f})'
                        for name, code in codes.items())
            + '; the prior has 1. The two widest dimensions, with circles at 1, 2 and 3:\n\n'
            f'{verdict(off["VAE"] < off["AE"])} (The VAE should be nearer to the prior.)\n\n'
            '![codes](codes.jpg)\n')


def sweep(more, unseen):
    """kl_weight balances reconstruction and random faces."""
    rows, table, errors, kls = [('images', unseen[:12])], '', [], []
    for weight in SWEEP:
        model = fit(VAE(), more, SWEEP_EPOCHS, weight, f'kl_weight {weight:g}')
        with torch.no_grad():
            mean, logvar = model.encode(unseen)
            errors.append(F.mse_loss(model.decode(mean), unseen).item())
            kls.append(kl_per_dimension(mean, logvar).sum().item())
        distance = sliced_wasserstein(random_faces(model, len(unseen)), unseen)
        rows.append((f'kl_weight {weight:g}', torch.cat([reconstructed(model, unseen[:6]),
                                                         random_faces(model, 6)])))
        table += f'| {weight:g} | {errors[-1]:.4f} | {kls[-1]:.1f} | {distance:.0f} |\n'
    save(labelled_rows(rows), 'kl_weight.jpg')
    holds = errors[0] < errors[-1] and all(a > b for a, b in zip(kls[1:], kls[2:]))
    return ('## kl_weight is a balance\n\n'
            f'Trained on {len(more)} images for {SWEEP_EPOCHS} epochs each. Left, six images '
            'reconstructed; right, six random codes. A small weight should give a small error '
            'and much KL, a large one the reverse.\n\n| kl_weight | error, held out | KL, nats | '
            f'SWD x 1000 of random faces |\n| --- | --- | --- | --- |\n{table}\n'
            f'{verdict(holds)}\n\n![sweep](kl_weight.jpg)\n')


def first_nan(images, variance_of, n_steps):
    """The first step at which a VAE whose encoder gives the variance itself has no loss."""
    torch.manual_seed(0)
    model = VAE().train()
    optimizer = torch.optim.Adam(model.parameters(), LR, fused=True)
    for step in range(1, n_steps + 1):
        x = images[torch.randint(len(images), (BATCH_SIZE,))]
        mean, raw = model.encode(x)
        variance = variance_of(raw)
        code = mean + variance.sqrt() * torch.randn_like(mean)
        kl = -0.5 * (1 + variance.log() - mean**2 - variance).sum(1).mean()
        loss = F.mse_loss(model.decode(code), x) + KL_WEIGHT * kl
        if not loss.isfinite():
            return step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return None


@torch.no_grad()
def draw_variances(images):
    """Histograms of what an untrained encoder gives, as the variance and as its logarithm.

    Returns:
        The share of values below 0, which no variance can be.
    """
    torch.manual_seed(0)
    _, raw = VAE().train().encode(images)
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
        draw.text((left, 4), name, fill='black')
        for tick in (-1, 0, 1, 2, 3):
            draw.text((left + (tick - low) / (high - low) * (width - 40), height + 31), str(tick),
                      fill='black', anchor='mm')
    save(picture, 'variance.jpg')
    return (raw < 0).float().mean().item()


def variance_itself(images):
    """Predicting the variance instead of its logarithm leads to NaN."""
    tried = {'the linear layer gives the variance': lambda raw: raw,
             'the variance is cut off at 0 (ReLU)': F.relu,
             'the variance is kept positive (softplus)': F.softplus,
             'the logarithm is predicted (the VAE)': torch.exp}
    steps = {name: first_nan(images, function, NAN_STEPS) for name, function in tried.items()}
    lines = ''.join(f'| {name} | ' + (f'NaN or infinite at step {step} |\n' if step else
                                      f'finite for all {NAN_STEPS} steps |\n')
                    for name, step in steps.items())
    values = list(steps.values())
    below = draw_variances(images)
    return ('## Why the logarithm of the variance\n\nThe loss needs log(variance), and a linear '
            f'layer gives any number: before training, {below:.0%} of what it gave for the '
            f'{len(images)} images was below 0.\n\n'
            f'| what is predicted | loss |\n| --- | --- |\n{lines}\n'
            f'{verdict(values[0] is not None and values[-1] is None)}\n\n'
            '![what an untrained encoder gives](variance.jpg)\n')


def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m dldemos.VAE.article',
                                     description=__doc__.splitlines()[0])
    parser.add_argument('--data_root', help='folder or zip of images; unless given, CelebA if '
                                            'it is there, else drawn faces')
    args = parser.parse_args(argv)
    keep_freed_memory()
    dataset = CelebADataset(find_images(args.data_root), n_images=N_MORE + N_HELD_OUT)
    images = torch.cat(list(batches(dataset, 100, shuffle=False)))
    more, unseen = images[:-N_HELD_OUT], images[-N_HELD_OUT:]
    few = more[:N_FEW]
    ae = fit(VAE(), few, FEW_EPOCHS, 0.0, 'autoencoder', noise=False)
    vae = fit(VAE(), few, FEW_EPOCHS, KL_WEIGHT, 'VAE')
    sections = [overfitting(ae, vae, few, unseen), between(ae, vae, unseen),
                random_codes(ae, vae, unseen), spread(ae, vae, few), sweep(more, unseen),
                variance_itself(few)]
    with atomic_write(FOLDER / 'report.md', 'w') as file:
        file.write('# The claims of the article, tried\n\n'
                   f'Images: {len(images)} of {dataset.root}.\n\n' + '\n'.join(sections))
    print(f'report: {FOLDER / "report.md"}')


if __name__ == '__main__':
    sys.exit(exit_status(main))
