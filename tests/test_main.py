import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from baseline import baseline_epoch
from conftest import REPOSITORY, run_module, small_vae
from PIL import Image
from torch.distributions import Normal, kl_divergence
from torchvision.transforms import ToPILImage

from dldemos.VAE import main as program
from dldemos.VAE.load_celebA import get_dataloader
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError


def test_loss_is_the_closed_form():
    torch.manual_seed(0)
    y, y_hat = torch.rand(2, 5, 3, 64, 64)
    mean, logvar = torch.randn(2, 5, 128)
    kl = kl_divergence(Normal(mean, logvar.exp().sqrt()), Normal(0.0, 1.0)).sum(1).mean()
    expected = ((y - y_hat)**2).mean() + 0.00025 * kl
    torch.testing.assert_close(program.loss_fn(y, y_hat, mean, logvar), expected)
    loss, reconstruction, divergence = program.loss_fn(y, y_hat, mean, logvar, weight=2.0,
                                                       return_terms=True)
    torch.testing.assert_close(divergence, kl)
    torch.testing.assert_close(loss, reconstruction + 2 * kl)


def rows_of(output):
    """The epochs' lines of what a training printed, split into their columns."""
    return [line.split() for line in output.splitlines() if re.match(r' *\d+/\d+ ', line)]


def test_training_is_the_articles_loop(images, here, capsys):
    """The printed losses are those of the baseline."""
    model, plain = small_vae(), small_vae()
    torch.manual_seed(1)
    program.train('cpu', get_dataloader(images, batch_size=4), model, n_epochs=1,
                  lr_schedule='constant')

    torch.manual_seed(1)
    optimizer = torch.optim.Adam(plain.parameters(), 0.005)
    dataloader = get_dataloader(images, batch_size=4)       # batches of 4, 4 and 2
    sums = torch.zeros(2)
    for n, terms in zip((4, 4, 2), baseline_epoch(plain, optimizer, dataloader, 0.00025)):
        sums += n * torch.stack(terms)
    row, = rows_of(capsys.readouterr().out)
    assert row[0] == '1/1'
    assert float(row[1]) == pytest.approx(sums[0].item() / 10, abs=1e-5)
    assert float(row[3]) == pytest.approx(sums[1].item() / 10, abs=1e-2)


def test_the_articles_own_program_runs_on_the_loader_and_the_model(images, here):
    """A training, a reconstruction and a sample, by the calls that it makes."""
    (here / 'data/celebA').mkdir(parents=True)
    images.rename(here / 'data/celebA/img_align_celeba')
    (here / 'dldemos/VAE').mkdir(parents=True)
    device = 'cpu'
    dataloader, model = get_dataloader(), VAE().to(device)
    optimizer, losses = torch.optim.Adam(model.parameters(), 0.005), []
    for _ in range(2):
        loss_sum = 0
        for x in dataloader:
            x = x.to(device)
            y_hat, mean, logvar = model(x)
            kl = torch.mean(-0.5 * torch.sum(1 + logvar - mean**2 - torch.exp(logvar), 1), 0)
            loss = torch.nn.functional.mse_loss(y_hat, x) + 0.00025 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss
        losses.append(loss_sum / len(dataloader.dataset))
        torch.save(model.state_dict(), 'dldemos/VAE/model.pth')
    assert losses[1] < losses[0]
    model.load_state_dict(torch.load('dldemos/VAE/model.pth', device))
    model.eval()
    batch = next(iter(dataloader))
    decoded = model(batch[0:1, ...].to(device))[0][0].detach().cpu()
    above = ToPILImage()(torch.cat((decoded, batch[0].detach().cpu()), 1))
    sampled = ToPILImage()(model.sample(device)[0].detach().cpu())
    assert (above.size, sampled.size) == ((64, 128), (64, 64))
    program.main(['reconstruct', 'generate', '--device', 'cpu', '--data_root',
                  'data/celebA/img_align_celeba'])             # its weights are those of ours


def test_training_lowers_the_loss_and_saves_the_weights(images, here, capsys):
    model = small_vae()
    program.train('cpu', get_dataloader(images), model, n_epochs=30)
    losses = [float(row[1]) for row in rows_of(capsys.readouterr().out)]
    assert losses[-1] < 0.5 * losses[0]
    saved = torch.load(program.ckpt_path, weights_only=True)
    assert all(torch.equal(saved[key], value) for key, value in model.state_dict().items())


def test_nan_stops_the_run_and_leaves_the_last_good_weights(images, here):
    class Broken(VAE):
        steps = 0

        def forward(self, x):
            Broken.steps += self.training
            decoded, mean, logvar = super().forward(x)
            return decoded, mean, logvar + (torch.nan if Broken.steps == 8 else 0)

    torch.manual_seed(0)
    model = Broken(hiddens=(4, 8, 8, 8, 8), latent_dim=8)
    dataloader = get_dataloader(images, batch_size=2)        # five steps an epoch
    with pytest.raises(UserError, match=r'NaN or infinite at step 8\b.*lower --lr'):
        program.train('cpu', dataloader, model, n_epochs=9)
    saved = torch.load(program.ckpt_path, weights_only=True)
    assert all(bool(torch.isfinite(value).all()) for value in saved.values())


def test_weights_that_broke_in_the_last_step_are_not_saved(images, here):
    model = small_vae()
    model.mean_linear.bias.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(UserError, match='NaN or infinite at step 1'):
        program.train('cpu', get_dataloader(images), model, n_epochs=1)
    assert not os.path.exists(program.ckpt_path)


def test_reconstruct_decodes_the_mean(images, here, monkeypatch):
    drawn = {}
    monkeypatch.setattr(program, 'pairs', lambda a, b: drawn.update(a=a, b=b) or [('x', a)])
    model = small_vae()
    program.reconstruct('cpu', get_dataloader(images, batch_size=4), model, n_images=6)
    assert drawn['a'].shape == (6, 3, 64, 64)
    model.eval()
    torch.testing.assert_close(drawn['b'], model.decode(model.encode(drawn['a'])[0]))


def test_each_action_writes_its_own_picture(images, here):
    options = ['--hiddens', '4,8,8,8,8', '--latent_dim', '8', '--n_samples', '12']
    done = run_module('dldemos.VAE.main', '--data_root', images, '--n_epochs', 1, *options,
                      cwd=here)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''                                 # no bar without a terminal
    line = r'^ *1/1 +\d\.\d+ +\d\.\d+ +\d+\.\d+ +\d\.\d+ +\d+ +00:\d\d$'
    assert re.search(line, done.stdout, re.M)
    pictures = ['work_dirs/generate.jpg', 'work_dirs/reconstruct.jpg', 'work_dirs/tmp.jpg']
    assert all(os.path.exists(picture) for picture in pictures)
    assert Image.open('work_dirs/generate.jpg').size == (8 * 66 + 2, 2 * 66 + 2)

    first = [Path(picture).read_bytes() for picture in pictures]
    images.rename(here / 'gone')                             # generate opens no dataset
    done = run_module('dldemos.VAE.main', 'generate', *options, cwd=here)
    assert done.returncode == 0, done.stderr
    second = [Path(picture).read_bytes() for picture in pictures]
    assert second == first                                   # same weights, same seed


@pytest.mark.parametrize('arguments, words', [
    (['generate', '--ckpt_path', 'mine.pth'], 'no weights at mine.pth'),
    (['reconstruct', '--latent_dim', '8'], 'no weights at dldemos/VAE/model.pth'),
    (['--data_root', 'nowhere'], 'nothing at nowhere'),
    (['--data_root', 'empty'], 'no image in empty'),
    (['--hiddens', '8,8,8,8,8,8,8'], 'hiddens has 7 widths'),
    (['--device', 'abacus'], 'device abacus cannot be used'),
    (['--n_epochs', '-1'], 'n_epochs must be')])
def test_mistakes_end_with_a_sentence_and_status_2(here, capsys, monkeypatch, arguments, words):
    (here / 'empty').mkdir()
    status = program.exit_status(lambda: program.main(arguments))
    output = capsys.readouterr()
    assert status == 2
    assert output.err.count('\n') == 1
    assert words in output.err
    assert not (here / 'dldemos').exists()
    assert not (here / 'work_dirs').exists()


@pytest.mark.parametrize('action', ['--help', 'generate', 'explore'])
def test_an_action_imports_no_more_than_it_needs(here, action):
    """Each of these takes a second or more, which `benchmarks/speed.py start` would show."""
    done = subprocess.run(
        [sys.executable, '-c', 'import sys; from dldemos.VAE import main\n'
         'try: main.main(sys.argv[1:])\n'
         'finally: print("imported:", *sys.modules)', action], cwd=here, text=True, check=True,
        capture_output=True, env={**os.environ, 'PYTHONPATH': str(REPOSITORY)})
    imported = done.stdout.split('imported:')[1].split()
    assert 'torch' in imported
    assert not {'torchvision', 'torch._dynamo', 'matplotlib', 'cv2', 'pyarrow'} & set(imported)
