"""What READMEs and docs say: commands that run, settings, files and a layout that are there."""
import ast
import re
import shlex
from importlib import import_module

import pytest
from conftest import REPOSITORY, make_image, run_module
from PIL import Image

from dldemos.VAE import main as program
from dldemos.VAE.command_line import parse
from dldemos.VAE.pretrained.sample_faces import draw_sample_faces
from dldemos.VAE.support.settings import as_text, read_settings

READMES = ['README.md', 'README.zh-CN.md']
DOCS = sorted(f'docs/{path.name}' for path in (REPOSITORY / 'docs').glob('*.md'))
DATA = ['data/README.md', 'data/README.zh-CN.md']
ENGLISH = [name for name in ['README.md', *DOCS, *DATA] if '.zh-CN.' not in name]
PAGES = [*READMES, *DOCS, *DATA, 'benchmarks/README.md']
MAIN = 'python -m dldemos.VAE.main'


def text(name):
    return (REPOSITORY / name).read_text(encoding='utf-8')


def in_chinese(name):
    return name.replace('.md', '.zh-CN.md')


def blocks(name, language):
    return re.findall(rf'```{language}\n(.*?)```', text(name), re.S)


def commands(name):
    """The lines of a page's shell blocks, without their comments."""
    return [line.split('#')[0].strip() for block in blocks(name, 'sh')
            for line in block.splitlines() if line.strip()]


def commands_in_the_text(name):
    """What stands between `...` in a page and begins as a command does, its line breaks undone."""
    return {' '.join(command.split())
            for command in re.findall(r'`(python\s[^`]+)`', re.sub(r'```.*?```', '', text(name),
                                                                  flags=re.S))}


def arguments(command):
    """Those of a command of main.py, or None: it is another one, or asks for help."""
    if not f'{command} '.startswith(f'{MAIN} ') or '--help' in command:
        return None
    return shlex.split(command.removeprefix(MAIN))


def can_run(command):
    """Whether it is a command of main.py that needs nothing a reader has to bring."""
    return command.startswith(MAIN) and not {'FOLDER', 'FILE', 'pretrained'} & set(command.split())


@pytest.mark.parametrize('name', ENGLISH)
def test_both_languages_have_the_same_commands_sections_and_rows(name):
    chinese = in_chinese(name)
    assert commands(name) == commands(chinese)
    assert commands_in_the_text(name) == commands_in_the_text(chinese)
    assert blocks(name, 'python') == blocks(chinese, 'python')
    for pattern in (r'^#+ ', r'^\| `([^`]+)`', r'^\|.*$', r'!\[[^]]*\]\(([^)]+)\)'):
        found = [re.findall(pattern, text(n), re.M) for n in (name, chinese)]
        assert (found[0] == found[1] if '(' in pattern else len(found[0]) == len(found[1])), pattern
    for a, b in ((name, chinese), (chinese, name)):
        assert f']({b.split("/")[-1]})' in text(a)


def test_no_page_is_without_its_twin():
    assert {in_chinese(name) for name in ENGLISH} | set(ENGLISH) == {*READMES, *DOCS, *DATA}


@pytest.mark.parametrize('name', READMES)
def test_a_readme_is_short(name):
    assert len(text(name).splitlines()) <= 250


@pytest.mark.parametrize('name', PAGES)
def test_links_lead_to_files_and_to_their_headings(name):
    for target, heading in re.findall(r'\]\(([^):#]*)(?:#([^)]+))?\)', text(name)):
        path = (REPOSITORY / name).parent / target if target else REPOSITORY / name
        assert path.exists(), target
        if heading:
            headings = re.findall(r'^#+ (.*)', path.read_text(encoding='utf-8'), re.M)
            assert heading in [anchor(line) for line in headings], (target, heading)


def anchor(heading):
    """The name that a link gives a heading."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


@pytest.mark.parametrize('name', ['docs/settings.md', 'docs/settings.zh-CN.md'])
def test_the_table_has_every_setting_with_its_default(name):
    table = dict(re.findall(r'^\| `(\w+)` \| (.*?) ?\|', text(name), re.M))
    settings = read_settings(program.__file__, vars(program))
    assert list(table) == list(settings)
    for option in settings:
        default = getattr(program, option)
        assert table[option] == ('' if default is None else as_text(default)), option


@pytest.mark.parametrize('name', PAGES)
def test_actions_and_options_are_there(name):
    for command in [*commands(name), *commands_in_the_text(name)]:
        if (words := arguments(command)) is not None:
            parse(words, vars(program))
        elif script := re.match(r'python benchmarks/(\w+)\.py(.*)', command):
            import_module(script[1]).parser.parse_args(shlex.split(script[2]))


def test_commands_run_as_written(here):
    """In the README's order; `small` makes trainings short, and what follows takes its sizes."""
    draw_sample_faces('data/sample_faces', n_faces=150)
    small = ['--n_epochs', '1', '--hiddens', '4,8,8,8,8', '--latent_dim', '8']
    run = 0
    for command in filter(can_run, commands('README.md')):
        words = command.split()[3:]
        trains = not words or 'train' in words and '--resume' not in words
        done = run_module('dldemos.VAE.main', *words, *(small if trains else []), cwd=here)
        assert done.returncode == 0, (command, done.stderr)
        run += 1
    assert run >= 8


def test_the_lines_for_a_notebook_run_as_written(here, monkeypatch, capsys):
    draw_sample_faces('data/sample_faces', n_faces=40)
    monkeypatch.setattr(program, 'n_epochs', program.n_epochs)          # put back afterwards
    lines, = [block for block in blocks('docs/python.md', 'python') if 'main.train' in block]
    *body, last = ast.parse(lines).body
    names = {}
    exec(compile(ast.Module(body, []), 'python.md', 'exec'), names)
    picture = eval(compile(ast.Expression(last.value), 'python.md', 'eval'), names)
    assert picture.width > 500                                          # 64 faces
    assert names['face'].shape == (1, 3, 64, 64)
    assert (here / program.ckpt_path).exists()
    assert ' 4/4 ' in capsys.readouterr().out


def test_the_lines_that_add_a_smile_run_as_written(here):
    lines, = [block for block in blocks('README.md', 'python') if 'import' in block]
    make_image(1).save('me.jpg')
    names = {}
    exec(lines, names)
    assert names['face'].shape == (1, 3, 64, 64)
    assert (names['face'] - names['model'].decode(names['code'])).abs().max() > 0.1
    assert Image.open('smile.jpg').size == (64, 64)


def test_the_lines_that_learn_who_wears_glasses_run_as_written(here):
    """On sample faces in CelebA's place."""
    draw_sample_faces('data/celebA/img_align_celeba', n_faces=100)
    lines, = [block for block in blocks('docs/python.md', 'python') if 'classifier' in block]
    names = {}
    exec(lines, names)
    assert names['code'].shape == (100, 128)
    said = names['classifier'](names['code'])[:, 0] > 0
    assert (said == (names['glasses'] > 0)).float().mean() > 0.9       # of what it was trained on


def test_ci_runs_the_two_commands_of_the_readme():
    script = (REPOSITORY / '.ci/run').read_text()
    for command in re.findall(r"'\^(pip install .*?)\$'", script):
        assert command in commands('README.md')
    assert len(re.findall(r"'\^pip", script)) == 2


@pytest.mark.parametrize('name', ['docs/develop.md', 'docs/develop.zh-CN.md'])
def test_the_layout_is_that_of_the_code(name):
    """Every module stands in its tree, and imports only what its arrows allow."""
    package = REPOSITORY / 'dldemos/VAE'
    tree = next(block for block in blocks(name, 'text') if 'load_celebA.py' in block)
    modules = {path.relative_to(package).as_posix(): path for path in package.rglob('*.py')
               if path.name != '__init__.py'}
    listed, folder = set(), ''
    for line in tree.splitlines()[1:]:
        indent, entry = len(line) - len(line.lstrip()), line.split()[0]
        folder = folder if indent == 4 else entry if entry.endswith('/') else ''
        listed |= {folder * (indent == 4) + entry} if entry.endswith('.py') else set()
    assert listed == set(modules)

    arrows = {one: right.split(', ') for one, right in re.findall(
        r'^(\w+) +-> +([\w, ]+)$', '\n'.join(blocks(name, 'text')), re.M)}
    for module, path in modules.items():
        own = module.split('/')[0].removesuffix('.py')
        imported = set(re.findall(r'^ *from dldemos\.VAE(?:\.| import )(\w+)', path.read_text(),
                                  re.M))
        assert imported <= {own, *arrows.get(own, ())}, module
