"""The command line of main.py: actions, and an option for each of its settings."""
import argparse
import difflib
import math

from dldemos.VAE.support.errors import UserError


def whole_number(least):
    """A check: text -> int of at least `least`."""
    def check(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise ValueError(f'must be a whole number of at least {least}')
        return value
    return check


def number(least, above=False, most=math.inf):
    """A check: text -> float from `least`, or from above it, to `most`."""
    def check(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not least <= value <= most or (above and value == least):
            limits = f'{"above" if above else "of at least"} {least}'
            raise ValueError(f'must be a number {limits}'
                             + (f' and at most {most}' if math.isfinite(most) else ''))
        return value
    return check


def widths(text):
    """A check: '16,32,64' -> (16, 32, 64)."""
    parts = text.strip('()[] ').rstrip(',').split(',')
    try:
        return tuple(whole_number(1)(part) for part in parts)
    except ValueError:
        raise ValueError('must be whole numbers above 0 with commas between them, '
                         'as in 16,32,64,128,256') from None


def betas(text):
    """A check: '0.9,0.999' -> (0.9, 0.999)."""
    parts = text.strip('()[] ').split(',')
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != 2 or not all(0 <= value < 1 for value in values):
        raise ValueError('must be two numbers from 0 to below 1, as in 0.9,0.999')
    return values


def number_or_auto(text):
    """A check: 'auto', or a number of at least 0."""
    return text if text == 'auto' else number(0)(text)


def one_of(*words):
    """A check: text -> one of these words."""
    def check(text):
        if text not in words:
            raise ValueError(f'must be one of {", ".join(words)}')
        return text
    return check


def yes_or_no(text):
    """A check: 'True' or 'False' -> bool."""
    if text not in ('True', 'False'):
        raise ValueError('must be True or False')
    return text == 'True'


def name(text):
    """A check: any text but the empty one."""
    if not text.strip():
        raise ValueError('must not be empty')
    return text


# name: (the check that turns its text into a value, what it means)
OPTIONS = {
    'n_epochs': (whole_number(1), 'passes over the training images'),
    'kl_weight': (number_or_auto, 'weight of the KL divergence in the loss; auto: that of the '
                                  'best decoder variance, as training goes'),
    'lr': (number(0, above=True, most=1), 'learning rate of Adam'),
    'batch_size': (whole_number(1), 'images a step (and a process)'),
    'optimizer': (one_of('adam', 'muon'), 'muon: fewer images to the same loss, by even steps in '
                                          'all directions of the weights'),
    'adam_betas': (betas, 'how long Adam remembers gradients, and their squares'),
    'lr_schedule': (one_of('linear', 'constant'), 'linear: the learning rate goes up, then '
                                                  'down to 0; constant: as in the article'),
    'warm_up': (number(0, most=1), 'share of the run in which the learning rate goes up'),
    'mirror': (yes_or_no, 'mirror half of the training images, others in every epoch'),
    'hiddens': (widths, 'channels after each stage of the encoder'),
    'latent_dim': (whole_number(1), 'length of a code'),
    'init': (name, 'weights to train on from: a file, or pretrained; unless given, random ones'),
    'data_root': (name, 'folder or zip of images; unless given, CelebA if it is there, '
                        'else faces that are drawn once'),
    'crop': (whole_number(1), 'side in pixels of the middle square that is cut out of an image; '
                              'of a smaller image, all of it'),
    'n_images': (whole_number(1), 'use the first so many images; unless given, all'),
    'held_out': (number(0, most=0.9), 'share of the images, the last by name, not trained on'),
    'cache_dir': (name, 'folder for the decoded images; unless given, beside the images'),
    'n_samples': (whole_number(1), 'faces that generate draws'),
    'prior': (one_of('normal', 'gaussian', 'flow'), 'where random codes come from: N(0, I), or '
                                                    'a distribution fitted to the codes of the '
                                                    'training images'),
    'seed': (whole_number(0), 'of everything random: same seed, same run'),
    'device': (name, 'auto, cpu, cuda, cuda:1, mps ...; auto takes the fastest there is'),
    'compile': (one_of('on', 'off', 'auto'), 'compile the training step; auto: where a run is '
                                             'long enough to gain by it'),
    'resume': (yes_or_no, 'go on with the unfinished run in work_dirs/run.pth'),
    'ckpt_path': (name, 'file of the weights'),
    'recipe': (name, 'settings that belong together; other options go before them'),
}


class Parser(argparse.ArgumentParser):
    """argparse that reports a mistake in one sentence, as a UserError."""

    def error(self, message):
        raise UserError(f'{message}; --help lists the actions and options')


def parse(argv, actions, recipes, defaults):
    """Read the command line.

    Args:
        argv: list of str, or None for that of the process.
        actions: {name: what it does}, in the order in which they are run.
        recipes: {name: {option: value}}; options that are given go before their recipe.
        defaults: {option: value}, as they stand at the top of main.py.

    Returns:
        The actions to run, in their order, and the checked options as a namespace.

    Raises:
        UserError: an unknown action or option, or a value of a wrong type or range.
    """
    parser = Parser(
        prog='python -m dldemos.VAE.main', allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Train the VAE of the article, and look at what it draws.',
        epilog='actions:\n' + '\n'.join(f'  {a:<14}{text}' for a, text in actions.items()))
    parser.add_argument('actions', nargs='*', metavar='ACTION',
                        help=f'what to do; none: {", ".join(list(actions)[:3])}')
    for option, (_, text) in OPTIONS.items():
        default = defaults[option]
        shown = '' if default is None else f' (default: {as_text(default)})'
        takes = ({'nargs': '?', 'const': not default} if isinstance(default, bool)
                 else {'metavar': 'VALUE'})
        parser.add_argument(f'--{option}', help=text + shown, default=argparse.SUPPRESS, **takes)
    values, unknown = parser.parse_known_args(argv)
    if unknown:
        raise UserError(f'there is no option {unknown[0]}'
                        f'{similar(unknown[0], [f"--{o}" for o in OPTIONS])}; '
                        f'--help lists them all')
    for action in values.actions:
        if action not in actions:
            raise UserError(f'there is no action {action}{similar(action, actions)}; '
                            f'there are {", ".join(actions)}')
    chosen = values.actions or list(actions)[:3]
    given = vars(values)
    recipe = given.get('recipe', defaults['recipe'])
    if recipe not in recipes:
        raise UserError(f'there is no recipe {recipe}; there are {", ".join(recipes)}')
    merged = {**{option: defaults[option] for option in OPTIONS}, **recipes[recipe], **given}
    return ([action for action in actions if action in chosen],
            argparse.Namespace(**{option: checked(option, merged[option])
                                  for option in OPTIONS}))


def checked(option, value):
    """The value of an option, from the command line or the top of main.py, after its check."""
    if value is None:
        return None
    check, _ = OPTIONS[option]
    try:
        return check(as_text(value))
    except ValueError as error:
        raise UserError(f'{option} {error}, not {as_text(value)!r}') from None


def as_text(value):
    return ','.join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def similar(word, words):
    close = difflib.get_close_matches(word, words, n=1)
    return f' (did you mean {close[0]}?)' if close else ''
