"""How fast: loading, starting, training, its layers, the way to a loss, CelebA's size.

    python benchmarks/speed.py load FOLDER
    python benchmarks/speed.py --help              # the others

FOLDER is that of CelebA's images. Nothing should run beside these.
"""
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from argparse import Namespace
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import PIL
import torch
from baseline import baseline_epoch, baseline_loader
from common import ENVIRONMENT, machine, main, make_parser, python, spread, table, train

from dldemos.VAE import main as program
from dldemos.VAE.latent.attributes import SHOWN_ATTRIBUTES
from dldemos.VAE.load_celebA import CelebADataset, batches, split
from dldemos.VAE.model import VAE
from dldemos.VAE.training.speed import faster_layers, keep_freed_memory
from dldemos.VAE.training.steps import average_terms, make_optimizer
from dldemos.VAE.weights import PRETRAINED

IMAGES = 'data/celebA/img_align_celeba'     # CelebA's default place
median = partial(spread, middle=statistics.median)


def compare(what, unit, programs, repeats, digits=0):
    """Print a table of programs and the ratios of their figures to the first one's.

    They take turns, so that a machine that slows down does so for all of them.

    Args:
        programs: {name: function without arguments -> its figure}.
    """
    turns = [{name: measure() for name, measure in programs.items()} for _ in range(repeats)]
    first = next(iter(programs))
    table([what, unit, f'ratio to {first}'], (
        [name, median([turn[name] for turn in turns], digits),
         median([turn[name] / turn[first] for turn in turns], 2)] for name in programs))


@contextmanager
def linked(root, n_images):
    """While the block runs: a folder of so many images, hard links to those of `root`, beside it.

    Where there are fewer, they come again under other names.
    """
    originals = sorted(Path(root).absolute().glob('*.jpg'))
    with tempfile.TemporaryDirectory(dir=originals[0].parents[1]) as folder:
        source = Path(folder) / IMAGES
        source.mkdir(parents=True)
        for i in range(n_images):
            os.link(originals[i % len(originals)], source / f'{i + 1:06}.jpg')
        yield source


def load(root, sizes=(1000, 4000, 8000), repeats=3):
    """Images/s that become batches of 16, of so many images.

    The baseline decodes every image again in every epoch, in one process. The first pass makes the
    cache, in an empty folder; later passes read it.
    """
    keep_freed_memory()
    print(f'{machine()}, Pillow {PIL.__version__}')
    for size in sizes:
        with linked(root, size) as source:
            cached = batches(CelebADataset(source))
            images_per_second(cached)                      # warm-up
            compare(f'{size:,} images', 'images/s', {
                'baseline': partial(images_per_second, baseline_loader(source, size)),
                'first pass': partial(first_pass, source),
                'later passes': partial(images_per_second, cached, max(3, 20000 // size))}, repeats)


def images_per_second(loader, passes=1):
    start = time.perf_counter()
    count = sum(len(batch) for _ in range(passes) for batch in loader)
    return count / (time.perf_counter() - start)


def first_pass(source):
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        start = time.perf_counter()
        dataset = CelebADataset(source, cache_dir=folder)
        return len(dataset) / (time.perf_counter() - start)


def start(repeats=7):
    """Seconds until an action has done its work, beside what importing torch takes.

    Of whole processes, in an empty folder. The floor is what any program of torch and torchvision
    waits for.
    """
    programs = {'floor': ('-c', 'import torch, torchvision')}
    for action in ('--help', 'generate', 'generate --ckpt_path sharp', 'interpolate', 'explore'):
        programs[action] = '-m', 'dldemos.VAE.main', *action.split()
    programs = {name: partial(seconds, *arguments) for name, arguments in programs.items()}
    for measure in programs.values():
        measure()                                          # from disk into memory
    print(machine())
    compare('command', 'seconds', programs, repeats, digits=1)


def seconds(*arguments):
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        python(*arguments, folder=folder)
        return time.perf_counter() - start


FLOPS_PER_IMAGE = 85.5e6         # forward and backward, multiplications and additions


def training(root, n_images=3200, repeats=7):
    """Images/s of training with data loading: the baseline, and this program by its own log.

    The latter has a process of its own, of which the second epoch counts, once for each batch and
    optimizer of the default and of `--recipe quick`. The floor is set by a matrix product.
    """
    print(machine())
    for recipe in ('default', 'quick'):
        settings = {**vars(program), **program.RECIPES[recipe]}
        compare(f'batch {settings["batch_size"]}, {settings["optimizer"]}', 'images/s', {
            'baseline': partial(baseline_speed, root, n_images, settings['batch_size']),
            'this program': partial(own_speed, root, n_images, recipe),
            'floor': floor}, repeats)


def baseline_speed(root, n_images, batch_size):
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for n in (2 * batch_size, n_images):                   # a warm-up first
        start = time.perf_counter()
        dataloader = baseline_loader(root, n, batch_size)
        list(baseline_epoch(model, optimizer, dataloader, program.kl_weight))
    return n_images / (time.perf_counter() - start)


def own_speed(root, n_images, recipe):
    log = train(root, f'--recipe {recipe} --n_epochs 2 --n_images {n_images} --held_out 0')
    return log[-1]['images_per_second']


def floor():
    """Images/s at which the model's arithmetic runs as fast as a large matrix product."""
    a = torch.rand(2048, 2048)
    seconds = timeit.repeat(lambda: a @ a, number=1, repeat=8)[2:]
    return 2 * 2048**3 / statistics.median(seconds) / FLOPS_PER_IMAGE


def layers(recipe='default', turns=20):
    """Milliseconds of a step on random images, layer by layer, forward and backward.

    `faster` is within faster_layers of training/speed.py; ten steps of each take turns.
    """
    keep_freed_memory()
    torch.manual_seed(0)
    settings = Namespace(**{**vars(program), **program.RECIPES[recipe]})
    model = VAE().to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, settings)
    images = torch.rand(settings.batch_size, 3, 64, 64).to(memory_format=torch.channels_last)
    marks = []
    watch(model, marks)
    plain, faster = [], []
    for _ in range(turns + 1):
        plain += [times_of_step(model, optimizer, images, marks) for _ in range(10)]
        with faster_layers(model, torch.device('cpu')):
            faster += [times_of_step(model, optimizer, images, marks) for _ in range(10)]
    plain, faster = medians(plain[10:]), medians(faster[10:])        # without the warm-up
    print(f'{machine()}; {settings.batch_size} images, {settings.optimizer}, medians')
    order = sorted(plain, key=plain.get, reverse=True)
    table(['layer', 'direction', 'plain', 'faster'], (
        *([*key, f'{plain[key]:.2f}', f'{faster[key]:.2f}'] for key in order),
        ['all', '', f'{sum(plain.values()):.1f}', f'{sum(faster.values()):.1f}']))


def watch(model, marks):
    """Put (time, layer or step, direction) into `marks` where a layer begins and where it ends."""
    for name, layer in model.named_modules():
        if list(layer.children()):
            continue
        layer.register_forward_pre_hook(lambda *_, name=name: mark(marks, name, 'forward'))

        def after(layer, inputs, output, name=name):
            mark(marks, 'between layers', 'forward')
            if output.requires_grad:
                output.register_hook(lambda gradient: mark(marks, name, 'backward'))
        layer.register_forward_hook(after)


def mark(marks, name, direction):
    marks.append((time.perf_counter(), (name, direction)))


def times_of_step(model, optimizer, images, marks):
    """{(layer, direction): milliseconds} of a step of training."""
    marks.clear()
    mark(marks, 'between layers', 'forward')
    loss = program.loss_fn(images, *model(images))
    optimizer.zero_grad()
    mark(marks, 'the loss', 'backward')
    loss.backward()
    mark(marks, 'the optimizer', 'update')
    optimizer.step()
    mark(marks, 'the end', '')
    times = defaultdict(float)
    for (start, key), (end, _) in zip(marks, marks[1:]):
        times[key] += 1000 * (end - start)
    return times


def medians(steps):
    return {key: statistics.median(step[key] for step in steps) for key in steps[0]}


def time_to_loss(root, seeds=3, n_epochs=10):
    """The baseline's best held-out loss, and the seconds to it, against those of the recipes.

    The baseline's are seconds of training alone, up to the end of its best epoch; the recipes'
    those of a whole command without a cache: import, decoding and saving.
    """
    training_split, held_out = split(CelebADataset(root), program.held_out)
    n_images = len(training_split)

    def row(seed):
        best, best_seconds, epoch = min(baseline_losses(root, seed, n_images, held_out, n_epochs))
        quick, quick_seconds, speeds = recipe_loss(root, seed, 'quick')
        of_steps = sum(n_images / speed for speed in speeds)
        default, default_seconds, _ = recipe_loss(root, seed, 'default')
        return [str(seed), f'{best:.5f}, {best_seconds:.0f} s ({epoch})',
                f'{quick:.5f}, {quick_seconds:.1f} s', f'{of_steps:.1f} s',
                f'{best_seconds / quick_seconds:.1f} times',
                f'{default:.5f}, {default_seconds:.0f} s', f'{default / best - 1:+.1%}']

    print(machine())
    table(['seed', 'baseline (epoch)', '`--recipe quick`', 'of which steps', 'sooner',
           '`--recipe default`', 'loss'], map(row, range(seeds)))


def baseline_losses(root, seed, n_images, held_out, n_epochs):
    """(held-out loss, seconds of training, epoch) at the end of each epoch of the baseline."""
    torch.manual_seed(seed)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    loader, held_out = baseline_loader(root, n_images), batches(held_out, 64, shuffle=False)
    seconds = 0.0
    for epoch in range(1, n_epochs + 1):
        start = time.perf_counter()
        list(baseline_epoch(model, optimizer, loader, program.kl_weight))
        seconds += time.perf_counter() - start
        loss, _, _ = average_terms(program.loss_fn, torch.device('cpu'), held_out, model)
        yield loss, seconds, epoch


def recipe_loss(root, seed, recipe):
    """(held-out loss, seconds of the whole command, images/s of each epoch) of a recipe."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        log = train(root, f'--recipe {recipe} --cache_dir {folder}', seed)
        seconds = time.perf_counter() - start
    return log[-1]['held_out_loss'], seconds, [row['images_per_second'] for row in log]


BUNDLED, OWN = '--ckpt_path pretrained', f'--ckpt_path model.pth --data_root {IMAGES}'
STEPS = {
    'build the cache, first batch': 'load_celebA',
    'first batch again': 'load_celebA',
    'reconstruct': f'main reconstruct {BUNDLED}',
    'generate --n_samples 20000': f'main generate --n_samples 20000 {BUNDLED}',
    'the same with --save_images': f'main generate --n_samples 20000 --save_images png {BUNDLED}',
    'evaluate, priors fitted before': f'main evaluate {BUNDLED}',
    'generate --prior gaussian, fitted': f'main generate --prior gaussian {OWN}',
    'generate --prior flow, fitted': f'main generate --prior flow {OWN}',
    'attributes, fitted': f'main attributes {OWN}',
}


def scale(root, size=202599):
    """Seconds (of the processor) and the own memory of what looks at all images of CelebA's size.

    They are hard links under new names, which need 2.5 GB beside FOLDER. Each row is a process from
    its start to its end; its memory is the largest RssAnon seen, without the mapped pages of the
    cache. The weights are the bundled ones, which know nine tenths of these images by their looks;
    for priors and directions the same without a manifest, to whose codes these are fitted for the
    first half of the images.
    """
    print(machine())
    with linked(root, size) as source:
        folder = source.parents[2]
        write_attributes(source.with_name('list_attr_celeba.txt'), size)
        weights = torch.load(PRETRAINED, weights_only=True)
        weights['mean_linear.bias'] += 1e-6           # or a copy would be known, and its priors too
        torch.save(weights, folder / 'model.pth')
        table(['', f'{size:,} images'], ([name, watched(step, folder)]
                                         for name, step in STEPS.items()))


def write_attributes(path, size):
    """A list of random attributes."""
    chance = random.Random(0)
    names = [*SHOWN_ATTRIBUTES, *(f'Other_{i}' for i in range(40 - len(SHOWN_ATTRIBUTES)))]
    rows = (f'{i:06}.jpg ' + ' '.join(chance.choices(('1', '-1'), k=40))
            for i in range(1, size + 1))
    path.write_text('\n'.join([str(size), ' '.join(names), *rows]) + '\n')


def watched(step, folder):
    """Run a module of this package: 'seconds (those of the processor), largest own memory'."""
    start, cpu_before, most = time.perf_counter(), sum(os.times()[2:4]), 0
    arguments = [sys.executable, '-m', *f'dldemos.VAE.{step}'.split()]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL,
                          env=ENVIRONMENT) as process:
        while process.poll() is None:
            resident, shared = Path(f'/proc/{process.pid}/statm').read_text().split()[1:3]
            most = max(most, int(resident) - int(shared))
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f'{step} ended with {process.returncode}')
    cpu = sum(os.times()[2:4]) - cpu_before                # of processes that ended
    return (f'{time.perf_counter() - start:.0f} s ({cpu:.0f}), '
            f'{most * os.sysconf("SC_PAGE_SIZE") / 2**20:.0f} MB')


parser = make_parser(__doc__, load, start, training, layers, time_to_loss, scale)

if __name__ == '__main__':
    sys.exit(main(parser))
