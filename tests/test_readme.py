"""What both READMEs say: commands that run, options and files that exist."""
import re

import pytest
from conftest import REPOSITORY, run_module

from dldemos.VAE import main as program
from dldemos.VAE.images.synthetic import draw_sample_faces
from dldemos.VAE.support.settings import OPTIONS, as_text

READMES = ['README.md', 'README.zh-CN.md']


def text(name):
    return (REPOSITORY / name).read_text(encoding='utf-8')


def commands(name):
    """The lines of the README's shell blocks, without their comments."""
    blocks = re.findall(r'```sh\n(.*?)```', text(name), re.S)
    return [line.split('#')[0].strip() for block in blocks for line in block.splitlines()
            if line.strip()]


def test_both_have_the_same_commands_and_sections():
    english, chinese = READMES
    assert commands(english) == commands(chinese)
    assert text(english).count('\n## ') == text(chinese).count('\n## ')
    assert f']({chinese})' in text(english)
    assert f']({english})' in text(chinese)
    assert re.findall(r'^\| `([^`]+)`', text(english), re.M) == (
        re.findall(r'^\| `([^`]+)`', text(chinese), re.M))


@pytest.mark.parametrize('name', READMES)
def test_links_lead_to_files(name):
    for target in re.findall(r'\]\(([^)#:]+)\)', text(name)):
        assert (REPOSITORY / target).exists(), target


@pytest.mark.parametrize('name', READMES)
def test_the_table_has_every_option_with_its_default(name):
    table = dict(re.findall(r'^\| `(\w+)` \| (.*?) ?\|', text(name), re.M))
    for option in OPTIONS:
        default = getattr(program, option)
        assert table[option] == ('' if default is None else as_text(default)), option


def test_commands_run_as_written(here):
    """In the README's order; from the first training on with `small`, to make them short."""
    draw_sample_faces('data/sample_faces', n_faces=150)
    small = ['--n_epochs', '1', '--hiddens', '4,8,8,8,8', '--latent_dim', '8']
    run, trained = 0, False
    for command in commands('README.md'):
        words = command.split()
        trained = trained or command == 'python -m dldemos.VAE.main'
        if words[:3] == ['python', '-m', 'dldemos.VAE.main']:
            extra = small if trained and '--help' not in words else []
            done = run_module('dldemos.VAE.main', *words[3:], *extra, cwd=here)
            assert done.returncode == 0, (command, done.stderr)
            run += 1
    assert run >= 4


def test_ci_runs_the_two_commands_of_the_readme():
    script = (REPOSITORY / '.ci/run').read_text()
    for command in re.findall(r"'\^(pip install .*?)\$'", script):
        assert command in commands('README.md')
    assert len(re.findall(r"'\^pip", script)) == 2
