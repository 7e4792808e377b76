import shutil
from pathlib import Path

import pytest
import torch
from conftest import run_module

from dldemos.VAE import command_line
from dldemos.VAE import main as program
from dldemos.VAE.command_line import ACTIONS
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.settings import current_settings, read_settings

DEFAULTS = vars(program)
NAMES = read_settings(program.__file__, DEFAULTS)


def parse(argv, defaults=DEFAULTS, recipes=program.RECIPES):
    return command_line.parse(argv, {**defaults, 'RECIPES': recipes})


def test_the_articles_hyperparameters_stand_at_the_top():
    assert (program.n_epochs, program.kl_weight, program.lr, program.batch_size) == (
        10, 0.00025, 0.005, 16)
    assert list(NAMES)[:4] == ['n_epochs', 'kl_weight', 'lr', 'batch_size']


def test_no_action_means_train_reconstruct_generate():
    actions, settings, given = parse([])
    assert actions == ['train', 'reconstruct', 'generate']
    assert vars(settings) == {name: DEFAULTS[name] for name in NAMES}
    assert given == {}


def test_options_have_the_type_of_their_setting():
    actions, settings, given = parse(['generate', 'train', '--n_epochs', '2', '--lr=1e-3',
                                      '--hiddens', '8,16', '--device', 'cpu'])
    assert actions == ['train', 'generate']
    assert (settings.n_epochs, settings.lr, settings.hiddens) == (2, 0.001, (8, 16))
    assert settings.batch_size == 16
    assert given == {'n_epochs': 2, 'lr': 0.001, 'hiddens': (8, 16), 'device': 'cpu'}
    assert program.n_epochs == 10


@pytest.mark.parametrize('argv', [
    ['train', '--lr', '0.001', 'reconstruct'], ['--lr', '0.001', 'train', 'reconstruct'],
    ['train', 'reconstruct', '--lr', '0.001'], ['reconstruct', '--lr=0.001', 'train']])
def test_actions_and_options_come_in_any_order(argv):
    actions, settings, _ = parse(argv)
    assert actions == ['train', 'reconstruct']
    assert settings.lr == 0.001


@pytest.mark.parametrize('text, value', [('100', 100), ('auto', 'auto'), ('face', 'face')])
def test_a_crop_is_a_number_or_a_word(text, value):
    assert parse(['--crop', text])[1].crop == value
    assert parse([])[1].crop == 'auto'


@pytest.mark.parametrize('at_the_top', [True, False])
def test_a_switch_turns_on_and_no_turns_off_whatever_stands_at_the_top(at_the_top):
    defaults = {**DEFAULTS, 'resume': at_the_top}
    assert parse(['--resume'], defaults)[1].resume is True
    assert parse(['--no-resume'], defaults)[1].resume is False
    assert parse([], defaults)[1].resume is at_the_top


@pytest.mark.parametrize('arguments, words', [
    (['--n_epoch', '2'], 'no option --n_epoch .did you mean --n_epochs'),
    (['--epochs=3'], 'no option --epochs'),
    (['trian'], 'no action trian .did you mean train'),
    (['--n_epochs', '-1'], "n_epochs must be a whole number of at least 1, not '-1'"),
    (['--n_epochs', '2.5'], 'n_epochs must be a whole number'),
    (['--lr', '0'], 'lr must be a number above 0'),
    (['--lr', 'nan'], 'lr must be a number above 0'),
    (['--lr', 'fast'], 'lr must be a number'),
    (['--kl_weight', '-0.1'], 'kl_weight must be a number of at least 0'),
    (['--adam_betas', '0.9'], 'adam_betas must be 2 numbers'),
    (['--adam_betas', '0.9,1'], 'adam_betas must be'),
    (['--hiddens', '16,x'], 'hiddens must be whole numbers'),
    (['--optimizer', 'sgd'], 'optimizer must be one of adam, muon'),
    (['--seed', str(2**63)], 'seed must be a whole number of at least 0 and at most'),
    (['--crop', 'middle'], 'crop must be a whole number of at least 1, or one of auto, face, not'),
    (['--data_root', ''], 'data_root must not be empty'),
    (['--mirror', 'False'], 'no action False'),
    (['--recipe', 'quik'], 'no recipe quik .did you mean quick'),
    *[([f'--{option}', '9' * 20], f'{option} must be')
      for option in ('n_samples', 'latent_dim', 'hiddens', 'image_size')],
    (['--n_epochs'], 'n_epochs: expected one argument')])
def test_mistakes_are_refused_in_a_sentence(arguments, words):
    with pytest.raises(UserError, match=words) as error:
        parse(arguments)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('changes, words', [
    ({'n_epoch': 3}, 'sets n_epoch, and there is no such setting .did you mean n_epochs'),
    ({'recipe': 'quick'}, 'sets recipe'), ({'lr': 0}, 'lr must be a number above 0')])
def test_a_recipe_that_cannot_be_meant_is_refused_at_start(changes, words):
    with pytest.raises(UserError, match=words):
        parse([], recipes={**program.RECIPES, 'mine': changes})


def test_options_take_precedence_over_their_recipe():
    _, settings, given = parse(['--recipe', 'quick', '--n_epochs', '5'])
    assert (settings.n_epochs, settings.optimizer) == (5, 'muon')
    assert given['n_epochs'] == 5 and given['optimizer'] == 'muon'
    article = parse(['--recipe', 'article'])[1]
    assert (article.kl_weight, article.lr_schedule, article.held_out) == (0.00025, 'constant', 0)


def test_help_lists_actions_and_options_with_their_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(['--help'])
    assert stop.value.code == 0
    text = ' '.join(capsys.readouterr().out.split())
    for action in ACTIONS:
        assert action in text
    for name, comment in NAMES.items():
        assert f'--{name} ' in text
        assert comment and comment in text
    assert '(default: 0.00025)' in text
    assert '(default: 16,32,64,128,256)' in text


def test_a_line_at_the_top_is_an_option_with_its_help_type_and_default(here):
    """A copy of main.py with a setting more."""
    source = Path(program.__file__).read_text(encoding='utf-8')
    head, line, tail = source.partition('lr = 0.005 ')
    added = 'my_setting = 0.25   # what it is: 50% of #1\nmy_sizes = [1, 2]\nmy_name = None\n'
    shutil.copytree(Path(program.__file__).parents[1], here / 'dldemos')
    (here / 'dldemos/VAE/main.py').write_text(head + added + line + tail, encoding='utf-8')

    def run(*arguments):
        done = run_module('dldemos.VAE.main', *arguments, cwd=here, repository=here)
        return done.returncode, ' '.join((done.stdout + done.stderr).split())

    status, output = run('--help')
    assert status == 0
    assert '--my_setting VALUE what it is: 50% of #1 (default: 0.25)' in output
    status, output = run('generate', '--my_setting', 'word')
    assert (status, output) == (2, "error: my_setting must be a number, not 'word'")
    status, output = run('generate', '--my_sizes', '3,x')
    assert status == 2 and 'my_sizes must be whole numbers' in output
    status, output = run('generate', '--my_setting', '0.5', '--my_sizes', '3,4', '--my_name', 'x')
    assert status == 0
    assert 'my_setting=0.5 my_sizes=3,4 my_name=x' in output


def test_the_line_of_an_action_has_what_it_looks_at_and_what_was_changed(trained, here, capsys):
    """And what the weights' training overruled, which an option overrules in turn."""
    program.main(['generate', '--device', 'cpu', '--n_samples', '3'])
    assert capsys.readouterr().out.startswith(
        'generate on cpu: hiddens=4,8,8,8,8 (as trained; main.py has 16,32,64,128,256) '
        'latent_dim=8 (as trained; main.py has 128) n_samples=3 prior=auto seed=0 device=cpu\n')
    program.main(['evaluate', '--data_root', str(trained), '--ckpt_path', 'sharp'])
    assert 'kl_weight=3e-05 (as trained; main.py has 0.00025)' in capsys.readouterr().out
    program.main(['evaluate', '--data_root', str(trained), '--ckpt_path', 'sharp',
                  '--kl_weight', '0.5'])
    assert 'evaluate on cpu: kl_weight=0.5 data_root' in capsys.readouterr().out


def test_an_object_at_the_top_is_no_setting(tmp_path):
    """A reader's `criterion = torch.nn.L1Loss()` stays what it is."""
    file = tmp_path / 'main.py'
    file.write_text('criterion = torch.nn.L1Loss()   # not mean squares\n'
                    'lr: float = 0.5   # of #1: "a"\n     # and more\nname = "a # b"\n'
                    '# A group\n'
                    'def f():\n    pass\n\n\nlater = 1\n')
    values = {'criterion': torch.nn.L1Loss(), 'lr': 0.5, 'name': 'a # b', 'later': 1}
    assert read_settings(file, values) == {'lr': 'of #1: "a" and more', 'name': ''}


@pytest.mark.parametrize('option, value, expected', [
    ('data_root', Path('faces'), 'faces'), ('device', torch.device('cpu'), 'cpu'),
    ('work_dir', 1, '1'), ('hiddens', 16, (16,)), ('hiddens', [8, 16], (8, 16)),
    ('lr', torch.tensor(0.5).numpy(), 0.5), ('n_images', 5, 5)])
def test_a_value_of_another_type_is_taken_as_it_is_meant(option, value, expected):
    assert getattr(parse([], {**DEFAULTS, option: value})[1], option) == expected


@pytest.mark.parametrize('option, value', [
    ('batch_size', 0), ('lr', (0.005, 0.1)), ('n_epochs', [10, 20]), ('optimizer', 5),
    ('prior', True), ('adam_betas', 0.9), ('seed', torch.nn.L1Loss()), ('mirror', 'yes'),
    ('lr', float('inf'))])
def test_a_value_that_cannot_be_meant_is_refused(option, value):
    with pytest.raises(UserError, match=f'{option} must be'):
        parse([], {**DEFAULTS, option: value})


def test_an_option_takes_the_place_of_what_cannot_be_meant():
    assert parse(['--n_epochs', '5'], {**DEFAULTS, 'n_epochs': 0})[1].n_epochs == 5


def test_settings_are_read_when_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(program, 'n_epochs', 3)
    assert current_settings(program.__file__, vars(program), {'lr': 0.1}).n_epochs == 3
    with pytest.raises(TypeError, match='no setting n_epoch .did you mean n_epochs'):
        current_settings(program.__file__, vars(program), {'n_epoch': 2})


@pytest.mark.parametrize('option', ['n_epochs', 'lr', 'optimizer', 'hiddens', 'held_out', 'seed',
                                    'device', 'ckpt_path', 'recipe', 'work_dir', 'mirror'])
def test_a_setting_that_may_not_be_none_is_refused(option):
    with pytest.raises(UserError, match=f'{option} must not be None|no recipe None'):
        parse([], {**DEFAULTS, option: None})
