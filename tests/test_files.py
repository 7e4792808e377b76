"""Files that are written whole, and mistakes that are told in a sentence."""
import errno
import os
import stat

import pytest
from conftest import cached

from dldemos.VAE.support import files
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.support.files import atomic_write, printable, remove_abandoned, temporary_prefix


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / 'new' / 'a [1].txt'
    with atomic_write(path, 'w') as file:
        file.write('text')
        assert not path.exists()
    assert path.read_text() == 'text'
    assert os.listdir(path.parent) == [path.name]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'before')
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b'half')
        raise RuntimeError
    assert path.read_bytes() == b'before'
    assert os.listdir(tmp_path) == ['a.bin']


def test_others_may_read_it_as_any_file(tmp_path):
    with atomic_write(tmp_path / 'a') as file:
        file.write(b'x')
    (tmp_path / 'b').write_bytes(b'x')
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in 'ab'}
    assert len(modes) == 1


def test_two_with_the_same_process_number_do_not_collide(tmp_path, monkeypatch):
    """As in two containers on one volume."""
    monkeypatch.setattr(os, 'getpid', lambda: 1)
    path = tmp_path / 'a'
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first.name != second.name
        first.write(b'first')
        second.write(b'second')
    assert path.read_bytes() == b'first'                  # the outer block ends last
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize('name', ['plain.cache', 'with [1] and * in it.cache', 'x' * 250])
def test_abandoned_files_are_found_whatever_their_name(tmp_path, name):
    path = tmp_path / name
    abandoned = tmp_path / f'{temporary_prefix(path)}abc.tmp'
    fresh = tmp_path / f'{temporary_prefix(path)}def.tmp'
    for file in (abandoned, fresh):
        file.write_bytes(b'half')
    os.utime(abandoned, (0, 0))
    remove_abandoned(path)
    assert os.listdir(tmp_path) == [fresh.name]


def test_a_text_with_a_name_that_is_no_utf8_is_written(tmp_path):
    with atomic_write(tmp_path / 'report.md', 'w') as file:
        file.write('images of bilder \udcff\n')
    assert (tmp_path / 'report.md').read_text() == 'images of bilder \\udcff\n'


def test_printable_is_one_line():
    assert printable('a\nb\t\x1b[31m人 é \udcff') == r'a\nb\t\x1b[31m人 é \udcff'


def failing(error):
    def call():
        raise error
    return call


@pytest.mark.parametrize('number, words', [
    (errno.ENOSPC, 'make room'), (errno.EACCES, 'you may not read or write there'),
    (errno.EROFS, 'can be written to'), (errno.ENOTDIR, 'a file has the name of a folder'),
    (errno.EISDIR, 'a folder has the name of a file'), (errno.ENAMETOOLONG, 'shorter name')])
def test_an_error_of_the_disk_says_what_happened_and_what_to_do(capsys, number, words):
    assert exit_status(failing(OSError(number, os.strerror(number), 'a\nplace'))) == 2
    said = capsys.readouterr().err
    assert os.strerror(number) in said and words in said
    assert said.count('\n') == 1
    assert ('make room' in said) is (number == errno.ENOSPC)


def test_errors_that_are_the_programs_own_are_not_hidden():
    for error in (OSError('without a number'), ValueError('x'), RuntimeError('x')):
        with pytest.raises(type(error)):
            exit_status(failing(error))


def test_exit_status(capsys):
    assert exit_status(lambda: None) == 0
    assert exit_status(failing(UserError('say\nit'))) == 2
    assert capsys.readouterr().err == 'error: say\\nit\n'
    assert exit_status(failing(KeyboardInterrupt())) == 130


def test_a_source_that_may_not_be_read(images, monkeypatch, capsys):
    """Only others than root are kept from reading, so the refusal is made."""
    from dldemos.VAE.images import sources

    def refuse(root, *mode):
        raise PermissionError(errno.EACCES, 'Permission denied', str(root))

    monkeypatch.setattr(sources.zipfile, 'ZipFile', refuse)
    monkeypatch.setattr(sources.os, 'scandir', refuse)
    archive = images.parent / 'a.zip'
    archive.write_bytes(b'PK')
    for root in (images, archive):
        assert exit_status(lambda root=root: cached(root)) == 2
        said = capsys.readouterr().err
        assert 'Permission denied' in said and str(root) in said
        assert 'make room' not in said and 'download' not in said
    assert files.temporary_prefix('x') == '.x.'


@pytest.mark.parametrize('place', ['work_dirs', 'dldemos'])
def test_a_file_where_a_folder_is_needed(images, here, place, capsys):
    from dldemos.VAE import main as program
    (here / place).write_text('a file')
    status = exit_status(lambda: program.main(['train', '--data_root', str(images),
                                               '--n_epochs', '1', '--hiddens', '4,4']))
    assert status == 2
    assert 'a file has the name of a folder that is needed' in capsys.readouterr().err
