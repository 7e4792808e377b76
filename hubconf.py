"""For torch.hub: the VAE with its bundled weights.

    model = torch.hub.load(REPOSITORY, 'vae', 'sharp')                   # from GitHub: owner/name
    model = torch.hub.load('.', 'vae', 'sharp', source='local')          # from a folder
"""
from dldemos.VAE.pretrained import vae  # noqa: F401

dependencies = ['torch', 'numpy', 'filelock']
