"""The page of explore in a browser: headless Chromium, opened from disk, used as a reader would."""
import base64
import io
import json
import shutil
import time
from contextlib import contextmanager
from functools import cache, partial

import numpy
import pytest
import torch
from conftest import make_image
from PIL import Image
from torch.nn.functional import cosine_similarity
from torchvision.transforms.functional import pil_to_tensor

from dldemos.VAE import main as program
from dldemos.VAE import pretrained
from dldemos.VAE.latent.page import by_information, page
from dldemos.VAE.latent.walks import lerp, slerp
from dldemos.VAE.load_celebA import CelebADataset
from dldemos.VAE.model import VAE
from dldemos.VAE.weights import PRETRAINED, sha256

playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright')
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser',
                                                'google-chrome'))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium')
ARGUMENTS = ['--no-sandbox', '--no-first-run', '--disable-background-networking',
             '--disable-component-update', '--disable-sync']
WEIGHTS = sha256(PRETRAINED)[:12]
TABS = 'sliders', 'between', 'photo', 'map'
vae, directions = cache(pretrained.vae), cache(pretrained.directions)


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The page of the bundled weights, and pages of others, made when first asked for."""
    folder = tmp_path_factory.mktemp('pages')

    def make(hiddens=(16, 32, 64, 128, 256), latent_dim=128, image_size=64, about=None):
        name = '-'.join(map(str, (*hiddens, latent_dim, image_size, about is not None)))
        path = folder / f'{name}.html'
        if not path.exists():
            torch.manual_seed(0)
            model = (vae() if about is None and latent_dim == 128
                     else VAE(hiddens, latent_dim, image_size).eval())
            about = about or ({'name': 'pretrained', 'weights': WEIGHTS, 'n_images': 7200,
                               'directions': directions()} if latent_dim == 128 else {})
            path.write_text(page(model, by_information('cpu', model), about), encoding='utf-8')
        return path
    return make


@pytest.fixture
def opened(browser, files):
    """Open a page; in the end it must have said nothing in the console, and asked for nothing."""
    contexts, told, asked = [], [], []

    def watch(view):
        view.on('console', lambda message: told.append(message.text))
        view.on('pageerror', lambda error: told.append(str(error)))
        view.on('request', lambda request: asked.append(request.url))

    def open_page(path=None, hash='', size=(1280, 800), **how):
        contexts.append(browser.new_context(viewport={'width': size[0], 'height': size[1]},
                                            offline=True, **how))
        view = contexts[-1].new_page()
        view.set_default_timeout(20_000)
        watch(view)
        view.goto((path or files()).as_uri() + hash)
        wait(view, 'state.base && !wanted')
        return view

    yield open_page
    for context in contexts:
        context.close()
    assert told == []
    assert {url.split(':')[0] for url in asked} <= {'file', 'data', 'blob'}


def wait(view, holds, seconds=20):
    """Until a script expression holds. (Playwright's own way is what the page's policy forbids.)"""
    end = time.monotonic() + seconds
    while not view.evaluate(holds):
        assert time.monotonic() < end, holds
        view.wait_for_timeout(20)


def shown_code(view):
    return torch.tensor(view.evaluate('Array.from(code())'), dtype=torch.float32)


def assert_code(view, expected, atol=1e-3):
    """The code that is shown is this one."""
    torch.testing.assert_close(shown_code(view), expected, atol=atol, rtol=0)


def shown_pixels(view, canvas='face', moving=False):
    """What a canvas shows, (H, W, 3) of 0..255; moving: now, whatever is still to be drawn."""
    wait(view, str(moving).lower() + ' || !wanted && !encoding')
    data = view.evaluate(f'$("{canvas}").toDataURL().split(",")[1]')
    return pixels_of(io.BytesIO(base64.b64decode(data)))


def pixels_of(file):
    """A picture in a file, (H, W, 3) of 0..255."""
    return numpy.asarray(Image.open(file).convert('RGB')).astype(float)


def downloaded(view, button, path):
    """What a button saves, as the file `path`."""
    with view.expect_download() as saved:
        view.click(button)
    saved.value.save_as(path)
    return path


@torch.no_grad()
def torch_face(code):
    """The same as torch has it: (64, 64, 3) of 0..255."""
    return 255 * vae().decode(code.view(1, -1)).clamp(0, 1)[0].permute(1, 2, 0).numpy()


def is_face_of(pixels, code):
    """Whether a canvas shows, smoothly enlarged, what torch makes of a code."""
    side = len(pixels) // 64
    means = pixels.reshape(64, side, 64, side, 3).mean((1, 3))
    return numpy.abs(means - torch_face(code)).mean() < 2.5


def caption(view):
    wait(view, '!wanted && !encoding')
    return view.inner_text('#caption')


def same(a, b):
    """Whether two canvases show the same, but for what blending at their edges rounds."""
    return numpy.abs(a - b).mean() < 0.05


@contextmanager
def changes(view, moving=False):
    """The face that is shown is another one after the block."""
    before = shown_pixels(view)
    yield
    assert numpy.abs(shown_pixels(view, moving=moving) - before).mean() > 0.3


# ---- Numbers ----

@torch.no_grad()
def test_encode_and_decode_agree_with_torch(opened):
    view, model = opened(), vae()
    torch.manual_seed(3)
    codes = torch.randn(4, 128)
    faces = model.decode(codes)
    decode = 'codes => codes.map(code => Array.from(vae.decode(Float32Array.from(code))))'
    its = view.evaluate(decode, codes.tolist())
    its = torch.tensor(its).view(4, 64, 64, 3).permute(0, 3, 1, 2)
    assert (its - faces).abs().mean() < 0.002
    images = torch.stack([pil_to_tensor(make_image(i, (64, 64))) for i in range(4)]) / 255
    its = view.evaluate(
        '''images => images.map(image => {
             const {mean, logvar} = vae.encode(Float32Array.from(image));
             return [Array.from(mean), Array.from(logvar)];
           })''', images.permute(0, 2, 3, 1).flatten(1).tolist())
    for ours, other in zip(model.encode(images), torch.tensor(its).transpose(0, 1)):
        assert (ours - other).abs().mean() < 0.002 * max(1, ours.abs().mean())


def test_a_sample_has_the_moments_of_its_distribution(opened):
    view = opened()
    moments = view.evaluate('''() => {
      const n = 4000, mean = new Float32Array(n).fill(2), logvar = new Float32Array(n).fill(-2);
      const sample = vae.reparameterize(mean, logvar);
      const average = sample.reduce((a, b) => a + b) / n;
      return [average, sample.reduce((sum, x) => sum + (x - average) ** 2, 0) / n];
    }''')
    assert moments == pytest.approx([2, 0.1353], abs=0.02)


@pytest.mark.parametrize('hiddens, latent_dim, image_size', [
    ((8, 12), 2, 64), ((4, 8, 8), 1, 32), ((4, 4, 6, 8), 512, 128), ((3, 5), 7, 4)])
@torch.no_grad()
def test_models_of_other_sizes(opened, files, hiddens, latent_dim, image_size):
    view = opened(files(hiddens, latent_dim, image_size))
    torch.manual_seed(0)
    model = VAE(hiddens, latent_dim, image_size).eval()
    code = torch.randn(latent_dim)
    its = view.evaluate('code => Array.from(vae.decode(Float32Array.from(code)))', code.tolist())
    face = model.decode(code.view(1, -1))[0].permute(1, 2, 0).flatten()
    assert (torch.tensor(its) - face).abs().mean() < 0.002
    assert not view.locator('#named').is_visible()                # no directions, no such sliders
    assert view.locator('#dimensions input').count() == min(9, latent_dim)
    assert view.locator('#more').is_visible() == (latent_dim > 9)
    view.locator('#dimensions input').first.press('ArrowRight')
    view.click('#tab-photo')
    view.set_input_files('#file', {'name': 'a.png', 'mimeType': 'image/png',
                                   'buffer': as_png(make_image(1))})
    wait(view, 'state.source === "Photo"')
    view.reload()                                                 # with its code in the address
    wait(view, 'state.base')


# ---- One face and its sliders ----

def test_a_slider_changes_the_face_by_the_keyboard_and_undo_takes_it_back(opened):
    view = opened()
    before, code = shown_pixels(view), shown_code(view)
    slider = view.locator('#dimensions input').first
    dimension = int(slider.get_attribute('id').split('-')[1])
    assert dimension == view.evaluate('model.order[0]')
    slider.focus()
    with changes(view):
        slider.press('End')
    expected = code.clone()
    expected[dimension] = 3
    assert_code(view, expected, 1e-5)
    assert is_face_of(shown_pixels(view), expected)
    assert 'changed' in caption(view)
    assert slider.get_attribute('aria-valuetext') == '3.0'
    view.click('#undo')
    assert same(shown_pixels(view), before)
    assert view.locator('#undo').is_disabled()


def test_a_slider_is_dragged_and_its_strip_is_clicked(opened):
    view = opened()
    box = view.locator('#dimensions input').nth(1).bounding_box()
    dimension = view.evaluate('model.order[1]')
    view.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    view.mouse.down()
    for share in (0.4, 0.3, 0.2, 0.1, 0.05, 0.01):
        view.mouse.move(box['x'] + box['width'] * share, box['y'] + box['height'] / 2)
    view.mouse.up()
    assert shown_code(view)[dimension] < -2.8
    strip = view.locator('#dimensions .strip').nth(1)
    strip.click(position={'x': 0.75 * box['width'], 'y': 10})
    assert float(shown_code(view)[dimension]) == pytest.approx(1.5, abs=0.1)


def test_fast_moves_end_where_the_slider_is(opened):
    view = opened()
    slider = view.locator('#directions input').first
    slider.focus()
    view.evaluate('performance.now = () => 1e6')                  # fast, also on a slow machine
    for key in ['ArrowRight'] * 20 + ['ArrowLeft'] * 5:
        view.keyboard.press(key)
    assert float(slider.input_value()) == pytest.approx(0.75)
    assert is_face_of(shown_pixels(view), shown_code(view))
    view.keyboard.press('Control+z')                              # all at once: one gesture
    wait(view, '!wanted')                                         # a slider follows the face
    assert float(slider.input_value()) == 0


def test_a_direction_is_added_and_names_are_labels(opened):
    view = opened()
    code = shown_code(view)
    view.get_by_label('Smile').press('End')
    assert_code(view, code + 2 * directions()['Smiling'], 1e-3)
    view.get_by_label('Glasses').press('Home')
    assert_code(view, code + 2 * directions()['Smiling'] - 2 * directions()['Eyeglasses'], 1e-3)
    dimension = view.evaluate('model.order[0]')                   # what is shown, is what moves
    view.locator('#dimensions input').first.press('Home')
    assert float(shown_code(view)[dimension]) == pytest.approx(-3, abs=1e-4)


def test_random_faces_and_the_mean_face(opened):
    view = opened()
    with changes(view):
        view.click('#random')
    codes = []
    for _ in range(12):
        view.click('#random')
        codes.append(shown_code(view))
    codes = torch.stack(codes)
    assert abs(codes.mean()) < 0.1 and abs(codes.std() - 1) < 0.1
    view.click('#mean')
    assert shown_code(view).abs().max() == 0
    assert caption(view) == 'The mean face'
    for _ in range(14):
        view.click('#undo')
    assert view.locator('#undo').is_disabled()


def test_more_dimensions_and_strips(opened):
    view = opened()
    wait(view, '!tasks.has(`dimension-${model.order[0]} 6`)')
    strip = view.evaluate('document.querySelector("#dimensions .strip").toDataURL()')
    view.click('#more')
    assert view.locator('#dimensions input').count() == 18
    assert view.locator('#dimensions label').nth(17).inner_text().startswith('No. ')
    view.click('#random')
    wait(view, f'document.querySelector("#dimensions .strip").toDataURL() !== "{strip}"')


def test_show_me_moves_the_first_slider_and_puts_it_back(opened):
    view = opened()
    code = shown_code(view)
    with changes(view, moving=True):
        view.click('#try-code')
        view.wait_for_timeout(700)
    wait(view, '!document.querySelector(".demonstrated") && !wanted')
    assert_code(view, code, 1e-5)


@pytest.mark.parametrize('act, amount', [
    ('$("random").click()', 0), ('knobs[0].move(0.5)', 0.5), ('knobs[4].move(1)', 1.5),
    ('$("try-code").click()', 1.5), ('$("tab-map").click()', 1.5), ('$("undo").click()', 1.5)])
def test_who_does_something_else_while_a_slider_is_shown_ends_that(opened, act, amount):
    view = opened()
    view.get_by_label('Glasses').fill('1.5')
    view.click('#try-code')
    view.wait_for_timeout(700)
    view.evaluate(act)
    wait(view, '!document.querySelector(".demonstrated") && !wanted')
    view.wait_for_timeout(3000)                                   # as long as it would have moved
    assert view.evaluate('state.amounts[0]') == pytest.approx(amount)
    assert float(view.get_by_label('Glasses').input_value()) == pytest.approx(amount)


# ---- Between two faces ----

@pytest.mark.parametrize('path, between', [('arc', slerp), ('line', lerp)])
def test_the_way_between_two_faces(opened, path, between):
    view = opened()
    view.click('#tab-between')
    view.locator('#palette button').nth(3).click()
    view.locator('#palette button').nth(5).click()
    a, b = (torch.tensor(view.evaluate(f'Array.from(gridCodes[{i}])')) for i in (3, 5))
    view.check(f'[value={path}]')
    view.locator('#way').focus()
    view.keyboard.press('Home')
    assert_code(view, a, 1e-5)
    for _ in range(25):
        view.keyboard.press('ArrowRight')
    assert_code(view, between(a, b, 5)[1], 1e-4)
    assert is_face_of(shown_pixels(view), shown_code(view))


def test_ends_are_random_or_the_face_shown_and_the_way_is_played(opened):
    view = opened()
    view.click('#mean')
    view.click('#tab-between')
    view.click('#a-shown')
    view.click('#b-random')
    assert view.evaluate('Array.from(ends.a)') == [0] * 128
    with changes(view, moving=True):
        view.click('#play')
        view.wait_for_timeout(900)
    assert view.inner_text('#play') == 'Stop'
    view.click('#play')
    stopped = shown_pixels(view)
    view.wait_for_timeout(200)
    assert same(shown_pixels(view, moving=True), stopped)


def test_the_way_is_saved_as_an_animation_and_as_a_strip(opened, tmp_path):
    view = opened()
    view.click('#tab-between')
    animation = Image.open(downloaded(view, '#save-walk', tmp_path / 'walk.png'))
    assert animation.n_frames == 30 and animation.info['loop'] == 0
    assert animation.info['duration'] == 80 and animation.size == (128, 128)
    frames = []
    for i in (0, 15, 29):
        animation.seek(i)
        frames.append(numpy.asarray(animation.convert('RGB')).astype(float))
    assert numpy.abs(frames[0] - frames[1]).mean() > 5            # there ...
    assert numpy.abs(frames[0] - frames[2]).mean() < 2            # ... and nearly back
    strip = Image.open(downloaded(view, '#save-strip', tmp_path / 'strip.png'))
    assert strip.size == (9 * 128, 128)


# ---- The reader's photograph ----

def as_bytes(picture, format='JPEG', **how):
    file = io.BytesIO()
    picture.save(file, format, **how)
    return file.getvalue()


as_png = partial(as_bytes, format='PNG')


def put_in(view, content, name='me.jpg', type='image/jpeg'):
    """As chosen in the dialog that the button opens."""
    view.click('#tab-photo')
    with view.expect_file_chooser() as chooser:
        view.click('#choose')
    chooser.value.set_files({'name': name, 'mimeType': type, 'buffer': content})


def with_photo(view, content=None):
    """The page, once it shows a photograph of these bytes."""
    put_in(view, content or as_bytes(make_image(1)))
    wait(view, 'state.source === "Photo"')
    return view


@torch.no_grad()
def code_of(picture, tmp_path):
    """What Python makes of it."""
    picture.convert('RGB').save(tmp_path / 'one.png')
    return vae().encode(CelebADataset(tmp_path / 'one.png')[0].unsqueeze(0))[0][0]


def close(a, b):
    return cosine_similarity(a, b, dim=0) > 0.99 and (a - b).abs().mean() < 0.08


def turned(picture):
    """A picture on its side, whose EXIF says so."""
    exif = Image.Exif()
    exif[0x0112] = 6                                              # to be turned by 90 degrees
    return as_bytes(picture.transpose(Image.Transpose.ROTATE_90), exif=exif, quality=95)


@pytest.mark.parametrize('picture, content', [
    (make_image(2), as_bytes), (make_image(2, mode='L'), as_png),
    (make_image(4, (90, 60)), as_png), (make_image(5, (3000, 4000)), as_bytes),
    (make_image(6, (64, 64), 'RGBA'), as_png), (make_image(3), turned)])
def test_a_photograph_is_encoded_as_in_python(opened, tmp_path, picture, content):
    """CelebA's size, grey, small, huge, with an alpha channel, lying on its side."""
    view = with_photo(opened(), content(picture))
    assert close(shown_code(view), code_of(picture, tmp_path))
    assert caption(view) == 'Your photograph, decoded'
    assert 'Nothing is sent anywhere' in view.inner_text('#photo')
    assert is_face_of(shown_pixels(view), shown_code(view))


def test_a_photograph_is_moved_scaled_and_turned(opened):
    view = with_photo(opened())
    box = view.locator('#picture').bounding_box()
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    with changes(view):
        view.mouse.move(x, y)
        view.mouse.down()
        view.mouse.move(x + 20, y + 10)
        view.mouse.move(x + 80, y + 40)
        view.mouse.up()
    moved = view.evaluate('[photo.x, photo.y]')
    assert moved == pytest.approx([0.5 + 80 / box['width'], 0.5 + 40 / box['height']], abs=0.01)
    with changes(view):
        view.mouse.wheel(0, -200)
        wait(view, 'photo.zoom > 0.3')                            # when the wheel has arrived
    with changes(view):
        view.locator('#size').press('PageDown')
    with changes(view):
        view.locator('#turn').press('Home')
    view.locator('#picture').focus()
    with changes(view):
        for _ in range(8):
            view.keyboard.press('ArrowLeft')
        view.keyboard.press('-')


def test_two_fingers_scale_a_photograph_and_one_moves_it(opened):
    view = opened(size=(390, 844), has_touch=True, is_mobile=True)
    with_photo(view)
    view.locator('#picture').scroll_into_view_if_needed()
    box = view.locator('#picture').bounding_box()
    y = box['y'] + box['height'] * view.evaluate('EYES[0][1]')
    hand = view.context.new_cdp_session(view)

    def touch(type, *places):
        hand.send('Input.dispatchTouchEvent', {'type': type, 'touchPoints': [
            {'x': box['x'] + x * box['width'], 'y': y, 'id': i} for i, x in enumerate(places)]})

    touch('touchStart', 0.4, 0.6)
    for apart in (0.12, 0.15, 0.2):
        touch('touchMove', 0.5 - apart, 0.5 + apart)
    touch('touchEnd')
    assert view.evaluate('photo.zoom') == pytest.approx(1, abs=0.02)
    x = view.evaluate('photo.x')
    touch('touchStart', 0.5)
    touch('touchMove', 0.55)
    touch('touchMove', 0.6)
    touch('touchEnd')
    assert view.evaluate('photo.x') == pytest.approx(x + 0.1, abs=0.02)


def test_a_photograph_can_be_enlarged_only_so_far(opened):
    view = with_photo(opened())
    view.locator('#picture').hover()
    for delta, zoom in ((-9000, 4), (30_000, -1)):
        view.mouse.wheel(0, delta)
        wait(view, f'Math.abs(photo.zoom - {zoom}) < 0.001 && !encoding')
        assert float(view.locator('#size').input_value()) == zoom


def test_sliders_work_on_the_code_of_the_photograph(opened):
    view = with_photo(opened())
    code = shown_code(view)
    view.click('#tab-sliders')
    view.get_by_label('Blond hair').press('End')
    assert_code(view, code + 2 * directions()['Blond_Hair'], 1e-3)
    view.click('#tab-between')
    view.click('#b-photo')
    assert_code(view, code, 1e-4)
    view.click('#random')
    view.click('#tab-photo')                                      # where it is seen again
    wait(view, 'state.source === "Photo"')
    assert_code(view, code, 1e-4)


def test_the_noise_of_the_posterior(opened):
    """Samples differ from each other, by as much as the encoder says; off, all is as it was."""
    view = with_photo(opened())
    code, before = shown_code(view), shown_pixels(view)
    view.check('#sample')
    wait(view, 'state.noise')
    deviation = (torch.tensor(view.evaluate('Array.from(posterior.logvar)')) / 2).exp()
    noise = torch.stack([shown_code(view) - code for _ in range(3)
                         if view.wait_for_timeout(300) is None])
    assert (noise[0] - noise[1]).abs().max() > 0.01
    assert float((noise / deviation).std()) == pytest.approx(1, abs=0.2)
    assert 'a sample' in caption(view)
    view.uncheck('#sample')
    assert same(shown_pixels(view), before)


@pytest.mark.parametrize('content, name, type', [
    (b'\xff\xd8\xff broken', 'a.jpg', 'image/jpeg'), (b'', 'b.png', 'image/png'),
    (b'a text', 'c.txt', 'text/plain'), (b'?', 'd.heic', 'image/heic'),
    (b'{"codes": [[1]]}', 'e.json', 'application/json')])
def test_what_is_no_picture_is_told_so(opened, content, name, type):
    view = opened()
    code = shown_code(view)
    put_in(view, content, name, type)
    wait(view, '$("status").textContent')
    said = 'no code of this page' if type.endswith('json') else 'no picture that this browser can'
    assert said in view.inner_text('#status')
    assert torch.equal(shown_code(view), code)
    put_in(view, as_bytes(make_image(1)))                         # and the next one works
    wait(view, 'state.source === "Photo"')
    assert view.inner_text('#status') == ''


def test_on_a_telephone_a_message_is_in_sight(opened):
    view = opened(size=(390, 844))
    for tab in ('sliders', 'photo'):
        view.click(f'#tab-{tab}')
        view.set_input_files('#file', {'name': 'a.txt', 'mimeType': 'text/plain', 'buffer': b'?'})
        wait(view, '$("status").textContent')
        box = view.locator('#status').bounding_box()
        assert box['y'] + box['height'] <= 844
        view.evaluate('tell(null)')


def test_the_file_that_was_chosen_last_is_shown(opened):
    """Though one before it is larger, and so is read after it."""
    view = opened()
    pictures = [as_bytes(make_image(1, (4000, 4000))), as_bytes(make_image(2))]
    view.evaluate('''files => {
      for (const bytes of files) openFile(new File([Uint8Array.from(atob(bytes), letter =>
        letter.charCodeAt(0))], 'a.jpg', {type: 'image/jpeg'}));
    }''', [base64.b64encode(picture).decode() for picture in pictures])
    wait(view, 'state.source === "Photo"')
    view.wait_for_timeout(2000)
    assert view.evaluate('[photo.picture.width, photo.picture.height]') == [178, 218]


def test_a_photograph_is_dropped_on_the_page(opened, tmp_path):
    view = opened()
    view.evaluate('''bytes => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(bytes)], 'me.jpg', {type: 'image/jpeg'}));
      for (const type of ['dragover', 'drop']) {
        document.body.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true,
                                                         cancelable: true}));
      }
    }''', list(as_bytes(make_image(2))))
    wait(view, 'state.source === "Photo"')
    assert view.locator('#photo').is_visible()
    assert close(shown_code(view), code_of(make_image(2), tmp_path))


# ---- More faces, the plane ----

def test_faces_to_pick_from(opened):
    view = opened()
    view.click('#tab-map')
    grid = view.locator('#grid')
    grid.get_by_label('Face 6', exact=True).click()
    assert shown_code(view).tolist() == view.evaluate('Array.from(gridCodes[5])')
    view.keyboard.press('ArrowDown')
    view.keyboard.press('Enter')
    assert shown_code(view).tolist() == view.evaluate('Array.from(gridCodes[9])')
    assert grid.get_by_label('Face 10', exact=True).get_attribute('aria-pressed') == 'true'
    view.click('#others')
    assert shown_code(view).tolist() != view.evaluate('Array.from(gridCodes[9])')
    view.locator('#temperature').press('Home')
    spread = torch.tensor(view.evaluate('gridCodes.map(code => Array.from(code))')).std()
    assert float(spread) == pytest.approx(0.2, abs=0.01)


@torch.no_grad()
def test_the_plane_of_a_model_of_two_dimensions(opened, files):
    view = opened(files((8, 12), 2, 64))
    assert view.inner_text('#tab-map') == 'The plane'
    view.click('#tab-map')
    box = view.locator('#plane').bounding_box()
    view.mouse.move(box['x'] + 0.25 * box['width'], box['y'] + 0.5 * box['height'])
    assert_code(view, torch.tensor([-1.5, 0.0]), 0.02)
    view.locator('#plane').focus()
    view.keyboard.press('ArrowUp')
    assert_code(view, torch.tensor([-1.5, 0.1]), 0.02)
    wait(view, 'tasks.size === 0', seconds=60)
    torch.manual_seed(0)
    model = VAE((8, 12), 2, 64).eval()
    face = model.decode(torch.tensor([[6 * 2.5 / 15 - 3, 3 - 6 * 4.5 / 15]])).clamp(0, 1)
    drawn = shown_pixels(view, 'plane')[4 * 64:5 * 64, 2 * 64:3 * 64] / 255
    assert numpy.abs(drawn - face[0].permute(1, 2, 0).numpy()).mean() < 0.01


# ---- Keep ----

@torch.no_grad()
def test_a_saved_code_is_the_same_face_in_python_and_in_the_page(opened, here):
    view = opened()
    view.get_by_label('Young').press('Home')
    code, pixels = shown_code(view), shown_pixels(view)
    saved = downloaded(view, '#save-code', here / 'code.json')
    assert json.loads(saved.read_text())['weights'] == WEIGHTS
    assert 'code.json' in view.inner_text('#status')
    program.main(['generate', '--code', 'code.json', '--save_images', 'faces'])
    drawn = pixels_of(here / 'faces/000001.png')
    assert numpy.abs(drawn - torch_face(code)).max() < 1.5
    picture = pixels_of(downloaded(view, '#save-picture', here / 'face.png'))
    assert picture.shape == (512, 512, 3)
    assert numpy.abs(picture - pixels).max() < 2

    view.click('#mean')
    view.set_input_files('#file', saved)
    wait(view, 'state.source === "File"')
    assert_code(view, code, 1e-5)


def test_the_address_shows_another_person_the_same_face(opened, files):
    view = opened()
    view.click('#random')
    code, pixels = shown_code(view), shown_pixels(view)
    view.wait_for_timeout(500)
    address = view.evaluate('location.hash')
    assert len(address) < 185
    other = opened(hash=address)
    assert caption(other) == 'The face of a link'
    assert (shown_code(other) - code).abs().max() < 0.03
    assert numpy.abs(shown_pixels(other) - pixels).mean() < 2
    other.evaluate('location.hash = toAddress(new Float32Array(128), model.weights)')
    wait(other, 'code().every(x => x === 0)')


def test_where_motion_is_unwanted_a_sample_stands_still_and_its_link_is_copied(opened):
    view = opened(reduced_motion='reduce', permissions=['clipboard-read', 'clipboard-write'])
    view.click('#tab-photo')
    view.check('#sample')                                         # without a photograph as well
    first = shown_code(view)
    view.wait_for_timeout(500)
    assert torch.equal(shown_code(view), first)
    view.click('#another')
    assert not torch.equal(shown_code(view), first)
    view.click('#tab-sliders')
    view.get_by_label('Glasses').fill('2')
    view.click('#copy-link')
    wait(view, '$("status").textContent')
    assert view.inner_text('#status') == 'The link is copied.'
    link = view.evaluate('navigator.clipboard.readText()')
    assert link == view.url and f'#{WEIGHTS[:6]}.' in link
    assert (shown_code(opened(hash=link[link.index('#'):])) - shown_code(view)).abs().max() < 0.03


@pytest.mark.parametrize('hash, said', [
    ('#abcdef.gICA', 'another length, 3 and not 128'),
    (f'#abcdef.{"gICA" * 42}gIA', 'made with other weights'),
    ('#anything', ''), ('#.', ''), (f'#{WEIGHTS[:6]}.====', ''), (f'#{WEIGHTS[:6]}.A', '')])
def test_an_address_of_another_model_is_told_so(opened, hash, said):
    view = opened(hash=hash)
    assert said in view.inner_text('#status') and bool(said) == bool(view.inner_text('#status'))
    assert is_face_of(shown_pixels(view), shown_code(view))


# ---- As a page ----

def test_both_languages_say_everything(opened):
    view = opened(locale='zh-CN')
    assert view.inner_text('h1') == '人脸的空间'
    assert view.evaluate('document.documentElement.lang') == 'zh-CN'
    view.get_by_label('微笑').press('End')
    view.click('#language')
    assert view.inner_text('h1') == 'A space of faces' and view.title() == 'A space of faces'
    assert view.get_by_label('Smile').input_value() == '2'
    keys = view.evaluate('[WORDS.en, WORDS.zh].map(words => Object.keys(words).sort())')
    assert keys[0] == keys[1]
    blanks = view.evaluate('''[WORDS.en, WORDS.zh].map(words => Object.entries(words).map(
      ([key, text]) => [key, (text.match(/\\{\\w+\\}/g) || []).sort().join()]).sort().join(';'))''')
    assert blanks[0] == blanks[1]
    assert view.evaluate('Object.keys(ATTRIBUTES).length') == 40


def test_every_control_has_a_name_and_tabs_follow_the_arrows(opened):
    view = opened()
    for tab in TABS:
        assert view.locator(f'#{tab}').is_visible()
        nameless = view.evaluate('''() => [...document.querySelectorAll('button, input, canvas')]
          .filter(one => one.checkVisibility() && one.ariaHidden !== 'true'
            && !one.closest('button canvas') && !(one.ariaLabel || one.textContent
            || [...one.labels || []].some(label => label.textContent)))
          .map(one => one.id || one.outerHTML)''')
        assert nameless == []
        view.locator(f'#tab-{tab}').focus()
        view.keyboard.press('ArrowRight')
    assert view.locator('#sliders').is_visible()


@pytest.mark.parametrize('locale', ['en-US', 'zh-CN'])
@pytest.mark.parametrize('width, height', [(1280, 800), (390, 844), (768, 1180), (820, 1180),
                                           (1024, 1180)])
def test_it_fits_on_a_laptop_a_telephone_and_a_tablet(opened, locale, width, height):
    """Nothing sticks out, and what is beside something else is not squeezed to nothing."""
    view = opened(locale=locale, size=(width, height))
    for tab, places in {'sliders': ['.knob input'], 'between': ['#palette button', '#way'],
                        'photo': ['#picture', '#size', '#eyes'],
                        'map': ['#grid button', '#temperature']}.items():
        view.click(f'#tab-{tab}')
        assert view.evaluate('document.documentElement.scrollWidth') <= width, tab
        for place in places:
            least = 40 if 'button' in place else 150
            assert view.locator(place).first.bounding_box()['width'] >= least, place
        if width == 1280:
            assert view.evaluate('document.documentElement.scrollHeight') <= height, tab
        if width == 390:
            view.mouse.move(200, 700)
            view.mouse.wheel(0, 300)
            view.wait_for_timeout(150)
            box = view.locator('#face').bounding_box()            # in sight while sliders scroll
            assert 0 <= box['y'] < 200 and box['height'] > 150, tab


@pytest.mark.parametrize('size', [(640, 400), (740, 360)])        # enlarged to 200 %; a telephone
def test_on_a_low_screen_the_face_leaves_room_for_sliders(opened, size):
    view = opened(size=size)
    view.mouse.move(200, size[1] - 20)
    view.mouse.wheel(0, 900)
    view.wait_for_timeout(300)
    box = view.locator('#shown').bounding_box()
    assert box['y'] + box['height'] <= size[1] / 2


def test_light_and_dark(opened):
    papers = []
    for scheme in ('light', 'dark'):
        view = opened(color_scheme=scheme)
        papers.append(view.evaluate('getComputedStyle(document.body).backgroundColor'))
    lightness = [sum(map(int, paper[4:-1].split(','))) for paper in papers]
    assert lightness[0] > 700 > 100 > lightness[1]
