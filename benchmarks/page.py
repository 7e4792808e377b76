"""The page of explore: how long it takes to make, how large it is, how fast it decodes.

    python benchmarks/page.py                # the table
    python benchmarks/page.py --write        # docs/index.html, the page of the bundled weights
    python benchmarks/page.py --picture 1    # docs/explore.jpg, with the random faces of a seed

The page is that of `python -m dldemos.VAE.main explore --ckpt_path sharp`, run where no images are.
The first and the last need headless Chromium, and `pip install playwright`.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ARGUMENTS = ['--no-sandbox', '--no-first-run', '--disable-background-networking',
             '--disable-component-update', '--disable-sync']
TIMES = '''() => Array.from({length: 200}, () => {
  const code = vae.sampleCode(), image = new Float32Array(SIDE * SIDE * 3).fill(0.5);
  const start = performance.now();
  vae.decode(code);
  const between = performance.now();
  vae.encode(image);
  return [between - start, performance.now() - between];
}).slice(50)'''


SEEDED = '''{
  let state = %d;                            // mulberry32, in place of the browser's own
  Math.random = () => {
    state = state + 0x6D2B79F5 | 0;
    let t = Math.imul(state ^ state >>> 15, 1 | state);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
}'''


def make(folder):
    """The page, made in an empty folder by the command; returns its path and the seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, '-m', 'dldemos.VAE.main', 'explore', '--ckpt_path', 'sharp'],
                   cwd=folder, check=True, env={**os.environ, 'PYTHONPATH': str(REPOSITORY)})
    return Path(folder) / 'work_dirs/explore.html', time.perf_counter() - start


@contextmanager
def chromium():
    """A headless browser from the system's packages."""
    from playwright.sync_api import sync_playwright
    path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))))
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def draw(path, seed):
    """docs/explore.jpg: the page as it opens, its random numbers seeded, with a little smile."""
    with chromium() as browser:
        view = browser.new_page(viewport={'width': 1280, 'height': 780})
        view.add_init_script(SEEDED % seed)
        view.goto(path.as_uri())
        view.get_by_label('Smile').fill('1')
        view.wait_for_timeout(1000)
        while view.evaluate('tasks.size'):
            view.wait_for_timeout(100)
        view.screenshot(path=REPOSITORY / 'docs/explore.jpg', type='jpeg', quality=88)


def time_in_browser(path):
    """The browser, seconds from opening to a face, and (median, 10 %, 90 %) of its verbs, in ms."""
    with chromium() as browser:
        view = browser.new_page()
        start = time.perf_counter()
        view.goto(path.as_uri())
        view.evaluate('new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))')
        opened = time.perf_counter() - start
        while view.evaluate('tasks.size'):                 # strips and grids, behind the face
            view.wait_for_timeout(100)
        times = list(zip(*view.evaluate(TIMES)))
        version = f'Chromium {browser.version}'
    deciles = [statistics.quantiles(verb, n=10) for verb in times]
    return version, opened, [(ten[4], ten[0], ten[8]) for ten in deciles]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--write', action='store_true', help='write docs/index.html')
    parser.add_argument('--picture', type=int, metavar='SEED', help='write docs/explore.jpg')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, seconds = make(folder)
        if args.write:
            shutil.copyfile(path, REPOSITORY / 'docs/index.html')
        if args.picture is not None:
            draw(path, args.picture)
        if args.write or args.picture is not None:
            return
        size = path.stat().st_size
        version, opened, verbs = time_in_browser(path)
    print('| what | measured |\n| --- | --- |')
    print(f'| from the command to the file | {seconds:.1f} s |')
    print(f'| size of the file | {size / 1e6:.2f} MB |')
    print(f'| {version}: from opening to a face | {1000 * opened:.0f} ms |')
    for name, (median, low, high) in zip(('decode', 'encode'), verbs):
        print(f'| {name}, one image | {median:.1f} ms ({low:.1f} - {high:.1f}) |')


if __name__ == '__main__':
    main()
