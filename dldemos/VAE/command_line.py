"""The command line of main.py: its actions, its recipes, and what overrules which setting.

An option overrules what the weights were trained with, and that what stands at the top of main.py.
"""
import argparse
import inspect
from functools import wraps

import torch

from dldemos.VAE.images.saved import check_folder
from dldemos.VAE.latent.attributes import draw_attributes
from dldemos.VAE.latent.metrics import evaluate
from dldemos.VAE.latent.page import explore
from dldemos.VAE.latent.walks import interpolate, traverse
from dldemos.VAE.session import Session, open_training
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import printable
from dldemos.VAE.support.settings import (
    Parser,
    as_text,
    checked_value,
    current_settings,
    in_force,
    read_settings,
    similar,
)
from dldemos.VAE.training import processes
from dldemos.VAE.training.devices import choose_device
from dldemos.VAE.training.run import completed
from dldemos.VAE.training.speed import keep_freed_memory
from dldemos.VAE.weights import check_not_bundled

ACTIONS = {                    # in the order of doing; the settings that their line shows
    'train': 'n_epochs kl_weight lr batch_size seed',
    'reconstruct': 'seed',
    'generate': 'n_samples prior seed',
    'interpolate': 'seed',
    'traverse': 'seed',
    'attributes': 'seed',
    'evaluate': 'kl_weight seed',
    'explore': 'seed',
}
DRAWN = {'interpolate': interpolate, 'traverse': traverse, 'attributes': draw_attributes,
         'evaluate': evaluate, 'explore': explore}         # the others stand in main.py


def run(argv, program):
    """What `python -m dldemos.VAE.main` does; program: the names in main.py and their values."""
    actions, settings, given = parse(argv, program)
    trains = 'train' in actions
    settings = completed(settings, given, trains)
    if 'generate' in actions and settings.save_images is not None:
        check_folder(settings.save_images)         # before hours of training
    if trains:
        check_not_bundled(settings.ckpt_path)
    keep_freed_memory()
    device = processes.join_processes(choose_device(settings.device))
    session = None if trains else Session(settings, given, device)
    print(f'{", ".join(actions)} on {device}: {shown(actions, settings, session, program)}')
    with in_force(program, settings):
        if trains:
            dataloader, model, held_out = open_training(settings)
            torch.manual_seed(settings.seed + processes.rank())
            program['train'](device, dataloader, model, held_out, settings)
        if not processes.leave_processes():
            return
        if trains:
            session = Session(settings, given, device, trained_now=True)
        session.open_model()
        for action in actions:
            if action == 'train':
                continue
            function, arguments = prepared(action, session, program)
            torch.manual_seed(settings.seed)
            function(*arguments)


def prepared(action, s, program):
    """The function of an action other than train, and its arguments from a session."""
    if action == 'reconstruct':
        return program['reconstruct'], (s.device, s.shown_batches, s.model)
    if action == 'generate':
        return program['generate'], (s.device, s.model, s.given_codes, s.named_after)
    if action == 'attributes':
        return draw_attributes, (s.device, s.model, s.directions, s.faces, s.random_codes,
                                 s.settings.attribute, s.folder)
    if action == 'evaluate':
        return evaluate, (s.device, s.model, s.evaluated_batches, program['loss_fn'],
                          s.settings.kl_weight, s.codes_of_priors, s.folder, s.probe)
    if action == 'explore':
        return explore, (s.device, s.model, s.faces, s.about, s.folder)
    return DRAWN[action], (s.device, s.model, s.faces, s.random_codes, s.folder)


def with_settings(program):
    """interpolate, traverse, evaluate and explore, to be called with main.py's settings.

    work_dir, kl_weight, seed and loss_fn are those of main.py where they are left out.
    """
    def bound(function):
        parameters = inspect.signature(function)

        @wraps(function)
        def call(*args, **kwargs):
            given = parameters.bind_partial(*args, **kwargs)
            for name in ('work_dir', 'kl_weight', 'seed', 'loss_fn'):
                if name in parameters.parameters and name not in given.arguments:
                    kwargs[name] = program[name]
            return function(*args, **kwargs)
        return call
    return [bound(function) for function in (interpolate, traverse, evaluate, explore)]


def shown(actions, settings, session, program):
    """The settings that the actions look at, and those that differ from main.py, on a line."""
    overruled = session.overruled if session else {}
    looked_at = ' '.join(ACTIONS[name] for name in actions).split()
    words = []
    for name, value in vars(settings).items():
        word = f'{name}={as_text(value)}'
        if name in overruled:
            if name in looked_at or name != 'kl_weight':
                words.append(f'{word} (as trained; main.py has '
                             f'{as_text(overruled[name])})')
        elif name in looked_at or as_text(value) != as_text(program[name]):
            words.append(word)
    return printable(' '.join(words))


def parse(argv, program):
    """Read the command line.

    Args:
        argv: list of str, or None for that of the process.
        program: the names in main.py and their values.

    Returns:
        The actions to run, in their order; all settings, checked, as a namespace; and those
        that the command line gave, itself or by a recipe, as a dict.

    Raises:
        UserError: an unknown action or option, a value of a wrong type or range, or a recipe
            for a setting that there is not.
    """
    comments, recipes = read_settings(program['__file__'], program), program['RECIPES']
    for recipe, changes in recipes.items():
        for option, value in changes.items():
            if option not in comments or option == 'recipe':
                raise UserError(f'the recipe {recipe} sets {option}, and there is no such setting'
                                f'{similar(option, comments)}')
            checked_value(option, value, program[option])
    parser = Parser(
        prog='python -m dldemos.VAE.main', allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Train the VAE of the article, and look at what it draws.',
        epilog=help_on_actions(program) + '\n\n' + help_on_recipes(recipes))
    parser.add_argument('actions', nargs='*', metavar='ACTION',
                        help=f'what to do; none: {", ".join(list(ACTIONS)[:3])}')
    for option, text in comments.items():
        parser.add_setting(option, program[option], text)
    given = vars(parser.parse(argv))
    chosen = given.pop('actions', None) or list(ACTIONS)[:3]
    for action in chosen:
        if action not in ACTIONS:
            raise UserError(f'there is no action {action}{similar(action, ACTIONS)}; there are '
                            f'{", ".join(ACTIONS)}')
    recipe = given.get('recipe', program['recipe'])
    if recipe not in recipes:
        raise UserError(f'there is no recipe {recipe}{similar(recipe, recipes)}; there are '
                        f'{", ".join(recipes)}')
    settings = current_settings(program['__file__'], program, {**recipes[recipe], **given})
    if 'recipe' in given:
        given = {**recipes[recipe], **given}
    return [name for name in ACTIONS if name in chosen], settings, given


def help_on_actions(program):
    lines = ['actions:']
    for name in ACTIONS:
        text = (DRAWN.get(name) or program[name]).__doc__ or ''     # none with python -OO
        first_line = text.partition('\n')[0].rstrip('.')
        lines.append(f'  {name:<14}{first_line[:1].lower()}{first_line[1:]}')
    return '\n'.join(lines)


def help_on_recipes(recipes):
    lines = ['recipes:']
    for name, changes in recipes.items():
        text = ' '.join(f'{option}={as_text(value)}' for option, value in changes.items())
        lines.append(f'  {name:<14}{text or "what stands at the top of main.py"}')
    return '\n'.join(lines)
