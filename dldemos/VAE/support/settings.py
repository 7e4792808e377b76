"""The settings at the top of main.py, read from its own lines: their help, options and checks.

A setting is an assignment there to a name in lower case. The comment beside it is its help, the
type of its value that of its option. What else a value must be stands in CHECKS.
"""
import argparse
import ast
import difflib
import io
import math
import tokenize
from contextlib import contextmanager
from pathlib import Path

from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import printable


def whole_number(least=-math.inf, most=math.inf):
    """A check: text -> int from `least` to `most`."""
    def check(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise ValueError('must be a whole number' + limits(least, most))
        return value
    return check


def number(least=-math.inf, most=math.inf, above=False):
    """A check: text -> float from `least`, or from above it, to `most`."""
    def check(text):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not least <= value <= most or (above and value == least):
            raise ValueError('must be a number' + limits(least, most, above))
        return value
    return check


def limits(least, most, above=False):
    words = [f' {"above" if above else "of at least"} {least}'] if math.isfinite(least) else []
    words += [f' {"at most" if words else "of at most"} {most}'] if math.isfinite(most) else []
    return ' and'.join(words)


def several(check, example, n=None):
    """A check: '16,32,64' -> (16, 32, 64), each number (n of them) passing `check`."""
    def check_all(text):
        parts = text.strip('()[] ').rstrip(',').split(',')
        try:
            values = tuple(check(part) for part in parts)
        except ValueError as error:
            raise ValueError(str(error).replace('a whole number', 'whole numbers').replace(
                'a number', 'numbers') + f', as in {as_text(example)}') from None
        if n and len(values) != n:
            raise ValueError(f'must be {n} numbers, as in {as_text(example)}')
        return values
    return check_all


def one_of(*words, otherwise=None):
    """A check: text -> one of these words; otherwise: what another check takes."""
    def check(text):
        if text in words:
            return text
        if otherwise is None:
            raise ValueError(f'must be one of {", ".join(words)}')
        try:
            return otherwise(text)
        except ValueError as error:
            raise ValueError(f'{error}, or one of {", ".join(words)}') from None
    return check


def name(text):
    """A check: any text but the empty one."""
    if not text.strip():
        raise ValueError('must not be empty')
    return text


def yes_or_no(text):
    """A check: 'True' or 'False' -> bool."""
    if text not in ('True', 'False'):
        raise ValueError('must be True or False')
    return text == 'True'


# Settings with a narrower range than their type, a list of words, or None
CHECKS = {
    'n_epochs': whole_number(1),
    'kl_weight': one_of('auto', otherwise=number(0)),
    'lr': number(0, 1, above=True),
    'batch_size': whole_number(1),
    'optimizer': one_of('adam', 'muon'),
    'adam_betas': several(number(0, math.nextafter(1, 0)), (0.9, 0.999), n=2),
    'lr_schedule': one_of('linear', 'constant'),
    'warm_up': number(0, 1),
    'hiddens': several(whole_number(1, 2**16), (16, 32, 64)),
    'latent_dim': whole_number(1, 2**16),
    'image_size': whole_number(1, 2**12),
    'crop': one_of('auto', 'face', otherwise=whole_number(1)),
    'n_images': whole_number(1),
    'held_out': number(0, 0.9),
    'n_samples': whole_number(1, 10**7),
    'prior': one_of('auto', 'normal', 'gaussian', 'flow'),
    'temperature': number(0),
    'seed': whole_number(0, 2**63 - 1),
    **dict.fromkeys(('work_dir', 'device', 'ckpt_path', 'recipe'), name),
    **dict.fromkeys(('mirror', 'resume', 'compile'), yes_or_no),
}
MAY_BE_NONE = ('init', 'data_root', 'n_images', 'cache_dir', 'attribute', 'save_images',
               'code', 'run_path')


def check_of(option, default):
    """The check of a setting: that in CHECKS, or that of its value's type."""
    if option in CHECKS:
        return CHECKS[option]
    if isinstance(default, (tuple, list)):
        return several(check_of(None, default[0]) if default else name, default)
    return {bool: yes_or_no, int: whole_number(), float: number()}.get(type(default), name)


def checked(option, value, default):
    """The value of a setting, from a recipe or the top of main.py, after its check."""
    if value is None and (option in MAY_BE_NONE or option not in CHECKS and default is None):
        return None
    if value is None:
        raise UserError(f'{option} must not be None')
    try:
        return check_of(option, default)(as_text(value))
    except ValueError as error:
        raise UserError(f'{option} {error}, not {as_text(value)!r}') from None


def read_settings(path):
    """{name: comment} of the settings of a Python file: its plain assignments in lower case."""
    source = Path(path).read_text(encoding='utf-8')
    comments = {token.start[0]: token.string.lstrip('# ')
                for token in tokenize.generate_tokens(io.StringIO(source).readline)
                if token.type == tokenize.COMMENT}
    return {name: comments.get(node.end_lineno, comments.get(node.lineno, ''))
            for name, node in assignments(source)}


def assignments(source):
    """(name, statement) of each assignment to names in lower case, outside functions."""
    for node in ast.parse(source).body:
        targets = getattr(node, 'targets', [getattr(node, 'target', None)])
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            yield from ((target.id, node) for target in targets
                        if isinstance(target, ast.Name) and target.id.islower())


def current_settings(path, values, changes=None):
    """The settings of a file as they stand in `values`, with changes, as a namespace.

    Raises:
        TypeError: a change of a name that is no setting.
    """
    names = read_settings(path)
    for change in changes or {}:
        if change not in names:
            raise TypeError(f'there is no setting {change}{similar(change, names)}')
    return argparse.Namespace(**{option: checked(option, (changes or {}).get(
        option, values[option]), values[option]) for option in names})


@contextmanager
def in_force(values, settings):
    """Settings as the values of their names in a module, as long as the block runs."""
    before = {option: values[option] for option in vars(settings)}
    values.update(vars(settings))
    try:
        yield
    finally:
        values.update(before)


class Parser(argparse.ArgumentParser):
    """argparse that reports a mistake in one sentence, as a UserError."""

    def error(self, message):
        option, _, rest = message.removeprefix('argument ').partition(': ')
        if rest.startswith('must '):                       # of a check: say it as a sentence
            message = f'{option.removeprefix("--")} {rest}'
        raise UserError(f'{message}; --help lists what there is')

    def add_setting(self, option, default, text):
        """Add the option of a setting."""
        shown = '' if default is None else f' (default: {as_text(default)})'
        how = {'help': (text + shown).replace('%', '%%'), 'default': argparse.SUPPRESS}
        if isinstance(default, bool):
            self.add_argument(f'--{option}', action=argparse.BooleanOptionalAction, **how)
            return
        check = check_of(option, default)

        def value(text):
            try:
                return check(text)
            except ValueError as error:
                raise argparse.ArgumentTypeError(f'{error}, not {text!r}') from None
        self.add_argument(f'--{option}', type=value, metavar='VALUE', **how)

    def parse(self, argv):
        """Options and positional arguments in any order; an unknown option is a UserError."""
        values, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            raise UserError(f'there is no option {unknown[0]}'
                            f'{similar(unknown[0].partition("=")[0], options)}; --help lists '
                            f'them all')
        return values


def parse(argv, path, values, actions, recipes):
    """Read the command line of main.py.

    Args:
        argv: list of str, or None for that of the process.
        path: of main.py, whose lines say what the settings are; `values` has their defaults.
        actions: {name: (function, ...)}, in the order in which they are run.
        recipes: {name: {setting: value}}; options that are given take precedence.

    Returns:
        The actions to run, in their order; all settings, checked, as a namespace; and those
        that the command line gave, itself or by a recipe, as a dict.

    Raises:
        UserError: an unknown action or option, a value of a wrong type or range, or a recipe
            for a setting that there is not.
    """
    comments = read_settings(path)
    for recipe, changes in recipes.items():
        for option, value in changes.items():
            if option not in comments or option == 'recipe':
                raise UserError(f'the recipe {recipe} sets {option}, and there is no such setting'
                                f'{similar(option, comments)}')
            checked(option, value, values[option])

    parser = Parser(
        prog='python -m dldemos.VAE.main', allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Train the VAE of the article, and look at what it draws.',
        epilog='actions:\n' + '\n'.join(f'  {name:<14}{first_line(function)}'
                                        for name, (function, *_) in actions.items())
        + '\n\nrecipes:\n' + '\n'.join(
            f'  {recipe:<14}' + (' '.join(f'{name}={as_text(value)}'
                                          for name, value in changes.items())
                                  or 'what stands at the top of main.py')
            for recipe, changes in recipes.items()))
    parser.add_argument('actions', nargs='*', metavar='ACTION',
                        help=f'what to do; none: {", ".join(list(actions)[:3])}')
    for option, text in comments.items():
        parser.add_setting(option, values[option], text)
    given = vars(parser.parse(argv))
    chosen = given.pop('actions', None) or list(actions)[:3]
    for action in chosen:
        if action not in actions:
            raise UserError(f'there is no action {action}{similar(action, actions)}; there are '
                            f'{", ".join(actions)}')
    recipe = given.get('recipe', values['recipe'])
    if recipe not in recipes:
        raise UserError(f'there is no recipe {recipe}{similar(recipe, recipes)}; there are '
                        f'{", ".join(recipes)}')
    settings = current_settings(path, values, {**recipes[recipe], **given})
    if 'recipe' in given:
        given = {**recipes[recipe], **given}
    return [name for name in actions if name in chosen], settings, given


def first_line(function):
    """The first line of a function's docstring, as the help of its action."""
    line = (function.__doc__ or '').partition('\n')[0].rstrip('.')     # none with python -OO
    return line[:1].lower() + line[1:]


def as_line(chosen, actions, settings, defaults):
    """The settings that the chosen actions look at, and those that were changed, on a line.

    actions: {name: (function, settings that it looks at, ...)}.
    """
    looked_at = ' '.join(actions[name][1] for name in chosen).split()
    return printable(' '.join(
        f'{option}={as_text(value)}' for option, value in vars(settings).items()
        if option in looked_at or as_text(value) != as_text(defaults[option])))


def as_text(value):
    return ','.join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def similar(word, words):
    close = difflib.get_close_matches(str(word), words, n=1)
    return f' (did you mean {close[0]}?)' if close else ''
