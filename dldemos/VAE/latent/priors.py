"""Where random codes come from: N(0, I), or a distribution fitted to the codes of images.

Training pulls the codes toward N(0, I), as strongly as kl_weight says. Where it pulls weakly
they end up elsewhere, and codes of N(0, I) decode to faces that no image has. Fitting a second
model to the codes mends that without touching the decoder; Stable Diffusion does the same on
a larger scale, with a diffusion model on the codes of an autoencoder.
"""
import torch
from torch import nn
from tqdm import tqdm

from dldemos.VAE.support.errors import UserError

PRIORS = ('normal', 'gaussian', 'flow')
CHUNK = 4096                   # codes that the flow carries at once
WIDTH = 512                    # of the network of the flow
MOST_STEPS, PASSES = 4000, 100  # of its fitting: more passes would memorise few codes


class Velocity(nn.Module):
    """A small network: codes (N, latent_dim) and times (N, 1) -> velocities (N, latent_dim).

    It adds to the velocity that would be right if the codes were N(0, I) themselves, so that it
    learns no more than in what they differ.
    """

    def __init__(self, latent_dim, width=WIDTH):
        super().__init__()
        self.frequencies = nn.Parameter(torch.arange(1, 17) * torch.pi / 2, requires_grad=False)
        self.layers = nn.Sequential(
            nn.Linear(latent_dim + 32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, latent_dim))

    def forward(self, code, time):
        waves = time * self.frequencies
        of_normal = code * (2 * time - 1) / (time**2 + (1 - time)**2)
        return of_normal + self.layers(torch.cat([code, waves.sin(), waves.cos()], dim=1))


def fit_gaussian(mean, logvar):
    """The mean and the Cholesky factor of the covariance of all images' codes together.

    mean, logvar: (N, latent_dim). The codes' covariance is that of their means plus the mean
    of their variances.
    """
    covariance = torch.cov(mean.T) + torch.diag(logvar.exp().mean(0))
    covariance.diagonal().add_(1e-6 * covariance.diagonal().mean())     # or rounding can break it
    return {'mean': mean.mean(0), 'factor': torch.linalg.cholesky(covariance)}


@torch.enable_grad()
def fit_flow(mean, logvar, n_steps=None, batch_size=256, lr=2e-3):
    """A network whose flow carries N(0, I) to the codes of the images.

    Flow matching (Lipman, Chen, Ben-Hamu, Nickel and Le, "Flow Matching for Generative
    Modeling", 2023): on the straight line from noise to a code, at a random time, the network
    learns the line's direction.

    Args:
        mean, logvar: (N, latent_dim).
        n_steps: None: as many as make PASSES passes over the codes, from 50 to MOST_STEPS.
    """
    if n_steps is None:
        n_steps = min(max(PASSES * len(mean) // batch_size, 50), MOST_STEPS)
    center, scale = mean.mean(0), (mean.var(0) + logvar.exp().mean(0)).sqrt()
    network = Velocity(mean.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in tqdm(range(n_steps), desc='fitting the prior', leave=False, disable=None):
        chosen = torch.randint(len(mean), (batch_size,))
        code = mean[chosen] + torch.exp(logvar[chosen] / 2) * torch.randn_like(mean[chosen])
        code = (code - center) / scale
        noise, time = torch.randn_like(code), torch.rand(batch_size, 1)
        velocity = network((1 - time) * noise + time * code, time)
        loss = (velocity - (code - noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {'mean': center, 'scale': scale, **network.state_dict()}


@torch.no_grad()
def sample_codes(prior, fitted, n_samples, latent_dim, temperature=1.0, n_steps=20):
    """Codes (n_samples, latent_dim) of a prior: 'normal', or what fit_... returned for it.

    temperature: the standard deviation of the random numbers that they are made of.
    """
    code = temperature * torch.randn(n_samples, latent_dim)
    if prior == 'normal':
        return code
    fitted = {name: value.float() for name, value in fitted.items()}      # bundled in 16 bits
    if prior == 'gaussian':
        return fitted['mean'] + code @ fitted['factor'].T
    network = Velocity(latent_dim, width=fitted['layers.0.weight'].shape[0])
    network.load_state_dict({name: value for name, value in fitted.items()
                             if name not in ('mean', 'scale')})
    for some in code.split(CHUNK):                      # in place
        for step in range(n_steps):                     # Heun's method, from noise to codes
            time = torch.full((len(some), 1), step / n_steps)
            first = network(some, time)
            second = network(some + first / n_steps, time + 1 / n_steps)
            some += (first + second) / (2 * n_steps)
    return fitted['mean'] + fitted['scale'] * code


def fit(prior, mean, logvar):
    """A prior of PRIORS but the normal one, fitted to codes (N, latent_dim).

    Raises:
        UserError: there are fewer than two.
    """
    if len(mean) < 2:
        raise UserError(f'the prior {prior} is fitted to at least two images, and there are not as '
                        f'many: take more, or --prior normal')
    return {'gaussian': fit_gaussian, 'flow': fit_flow}[prior](mean, logvar)
