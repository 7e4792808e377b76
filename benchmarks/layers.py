"""Where the time of a training step goes: each layer, forward and backward, plain and faster.

    python benchmarks/layers.py

One step of the default recipe on random images, without a compiler; `faster` is inside
training/speed.py's faster_layers. Both take turns, in one process. Needs no images.
"""
import argparse
import statistics
import time
from collections import defaultdict

import torch
from runs import machine, table

from dldemos.VAE import main as program
from dldemos.VAE.model import VAE
from dldemos.VAE.training.muon import Muon
from dldemos.VAE.training.speed import faster_layers, keep_freed_memory


def watch(model, marks):
    """Put (time, layer or step, direction) into `marks` where a layer begins and where it ends."""
    def mark(name, direction):
        marks.append((time.perf_counter(), name, direction))

    for name, layer in model.named_modules():
        if list(layer.children()):
            continue
        layer.register_forward_pre_hook(lambda *_, name=name: mark(name, 'forward'))

        def after(layer, inputs, output, name=name):
            mark('between layers', 'forward')
            if output.requires_grad:
                output.register_hook(lambda gradient: mark(name, 'backward'))
        layer.register_forward_hook(after)
    return mark


def steps(batch_size, optimizer):
    """A generator of {(layer, direction): seconds}, one for each step."""
    torch.manual_seed(0)
    model = VAE().to(memory_format=torch.channels_last).train()
    optimizer = (Muon(model, 0.005, (0.9, 0.99)) if optimizer == 'muon' else
                 torch.optim.Adam(model.parameters(), 0.005, fused=True))
    images = torch.rand(batch_size, 3, 64, 64).to(memory_format=torch.channels_last)
    marks = []
    mark = watch(model, marks)
    while True:
        marks.clear()
        mark('between layers', 'forward')
        loss = program.loss_fn(images, *model(images))
        optimizer.zero_grad()
        mark('the loss', 'backward')
        loss.backward()
        mark('the optimizer', 'update')
        optimizer.step()
        mark('', '')
        seconds = defaultdict(float)
        for (start, *key), (end, *_) in zip(marks, marks[1:]):
            seconds[tuple(key)] += end - start
        yield model, seconds


def medians(rows):
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch_size', type=int, default=program.batch_size)
    parser.add_argument('--optimizer', choices=['adam', 'muon'], default=program.optimizer)
    parser.add_argument('--repeats', type=int, default=20, help='turns of ten steps')
    args = parser.parse_args()
    keep_freed_memory()
    print(f'{machine()}; milliseconds of a step of {args.batch_size} images, '
          f'{args.optimizer}, medians')
    plain, faster = (steps(args.batch_size, args.optimizer) for _ in range(2))
    model, _ = next(faster)
    rows = {'plain': [], 'faster': []}
    for _ in range(args.repeats):
        rows['plain'] += [next(plain)[1] for _ in range(10)]
        with faster_layers(model, torch.device('cpu')):
            rows['faster'] += [next(faster)[1] for _ in range(10)]
    plain, faster = (medians(of_steps[10:]) for of_steps in rows.values())
    slowest = sorted(plain, key=plain.get, reverse=True)
    table(('layer', 'direction', 'plain', 'faster'), [
        *((*key, f'{1000 * plain[key]:.2f}', f'{1000 * faster[key]:.2f}') for key in slowest),
        ('all', '', f'{1000 * sum(plain.values()):.1f}', f'{1000 * sum(faster.values()):.1f}')])


if __name__ == '__main__':
    main()
