"""How near random faces are to real ones: bundled weights and recipes, priors, temperatures.

    python benchmarks/samples.py data/celebA/img_align_celeba

Recipes are trained on the first nine tenths of the images, a run for each seed, and all is
evaluated on the last: mean (lowest - highest) over the seeds, of the random codes where the weights
are bundled ones.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runs import REPOSITORY, spread, table

MODELS = ('--ckpt_path pretrained', '--ckpt_path sharp', '--ckpt_path calibrated')
PRIORS, TEMPERATURES = ('normal', 'gaussian', 'flow'), (1.0, 0.85, 0.7)
ROWS = {'mse_mean': 5, 'psnr': 2, 'ssim': 3, 'kl': 1, 'loss': 5, 'active_units': 0,
        'linear_probe': 3, 'swd_halves': 1, 'frechet_halves': 1, 'precision_halves': 3,
        'recall_halves': 3, 'frechet_reconstructions': 1}
COLUMNS = {'frechet': 1, 'precision': 3, 'recall': 3, 'swd': 1}


def evaluations(root, options, seed):
    """{temperature: metrics} of weights, which are trained first where they are a recipe's."""
    def run(*arguments):
        subprocess.run([sys.executable, '-m', 'dldemos.VAE.main', *arguments, '--data_root', root,
                        '--seed', str(seed), *options.split()], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL,
                       env={**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1'})

    with tempfile.TemporaryDirectory() as folder:
        if 'recipe' in options:
            run('train')
        found = {}
        for temperature in TEMPERATURES:
            run('evaluate', '--temperature', str(temperature), '--kl_weight', '0.00025')
            found[temperature] = json.loads((Path(folder) / 'work_dirs/evaluate.json').read_text())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('models', nargs='*', default=MODELS, help='other options, in quotes')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='runs at once')
    args = parser.parse_args()
    root = str(Path(args.root).absolute())
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = {model: [pool.submit(evaluations, root, model, seed) for seed in range(args.seeds)]
                for model in args.models}
        results = {model: [job.result() for job in of_seeds] for model, of_seeds in jobs.items()}

    def value(model, name, digits, temperature=1.0):
        return spread([of_seed[temperature][name] for of_seed in results[model]], digits)

    names = [f'`{model}`' for model in results]
    table(['', *names], ([name, *(value(model, name, digits) for model in results)]
                         for name, digits in ROWS.items()))
    for column, digits in COLUMNS.items():
        table([f'{column}: prior', 'temperature', *names], (
            [prior, str(temperature), *(value(model, f'{column}_{prior}', digits, temperature)
                                        for model in results)]
            for prior in PRIORS for temperature in TEMPERATURES))
    attributes = results[args.models[0]][0][1.0]['attributes']
    table(['attribute', *names], (
        [name, *(spread([of_seed[1.0]['attributes'][name] for of_seed in results[model]], 2)
                 for model in results)] for name in sorted(attributes)))


if __name__ == '__main__':
    main()
