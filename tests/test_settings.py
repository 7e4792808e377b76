import pytest

from dldemos.VAE import main as program
from dldemos.VAE.support import settings as command_line
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.settings import OPTIONS

ACTIONS = program.ACTIONS
DEFAULTS = vars(program)


def parse(argv, defaults=DEFAULTS):
    return command_line.parse(argv, ACTIONS, program.RECIPES, defaults)


def test_the_articles_hyperparameters_stand_at_the_top():
    assert (program.n_epochs, program.kl_weight, program.lr, program.batch_size) == (
        10, 0.00025, 0.005, 16)


def test_no_action_means_train_reconstruct_generate():
    actions, settings = parse([])
    assert actions == ['train', 'reconstruct', 'generate']
    assert vars(settings) == {name: DEFAULTS[name] for name in OPTIONS}


def test_options_have_the_type_of_their_setting():
    actions, settings = parse(['generate', 'train', '--n_epochs', '2', '--lr=1e-3', '--hiddens',
                               '8,16', '--device', 'cpu'])
    assert actions == ['train', 'generate']
    assert (settings.n_epochs, settings.lr, settings.hiddens) == (2, 0.001, (8, 16))
    assert settings.batch_size == 16
    assert program.n_epochs == 10


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
    (['--adam_betas', '0.9'], 'adam_betas must be two numbers'),
    (['--hiddens', '16,x'], 'hiddens must be whole numbers'),
    (['--data_root', ''], 'data_root must not be empty'),
    (['--n_epochs'], 'n_epochs: expected one argument')])
def test_mistakes_are_refused_in_a_sentence(arguments, words):
    with pytest.raises(UserError, match=words) as error:
        parse(arguments)
    assert '\n' not in str(error.value)


def test_an_edited_setting_is_checked_too():
    with pytest.raises(UserError, match='batch_size must be a whole number of at least 1'):
        parse([], {**DEFAULTS, 'batch_size': 0})


def test_help_lists_actions_and_options_with_their_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(['--help'])
    assert stop.value.code == 0
    text = ' '.join(capsys.readouterr().out.split())
    for action in ACTIONS:
        assert action in text
    for name in OPTIONS:
        assert f'--{name} ' in text
    assert '(default: 0.00025)' in text
    assert '(default: 16,32,64,128,256)' in text
