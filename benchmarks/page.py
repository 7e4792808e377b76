"""The page of explore: how long it takes to make, how large it is, how fast it decodes.

    python benchmarks/page.py             # the table
    python benchmarks/page.py --write     # docs/index.html, the page of the bundled weights

The page is that of `python -m dldemos.VAE.main explore --ckpt_path sharp`, run where no images are.
Decoding is timed in headless Chromium, for which `pip install playwright` is needed.
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
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


def make(folder):
    """The page, made in an empty folder by the command; returns its path and the seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, '-m', 'dldemos.VAE.main', 'explore', '--ckpt_path', 'sharp'],
                   cwd=folder, check=True, env={**os.environ, 'PYTHONPATH': str(REPOSITORY)})
    return Path(folder) / 'work_dirs/explore.html', time.perf_counter() - start


def time_in_browser(path):
    """The browser, milliseconds to show a face after opening, and (median, 10 %, 90 %) of verbs."""
    from playwright.sync_api import sync_playwright
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser',
                                                    'google-chrome'))))
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        view = browser.new_page()
        start = time.perf_counter()
        view.goto(path.as_uri())
        view.evaluate('new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))')
        opened = time.perf_counter() - start
        while view.evaluate('tasks.size'):                 # strips and grids, behind the face
            view.wait_for_timeout(100)
        times = list(zip(*view.evaluate(TIMES)))
        version = f'Chromium {browser.version}'
        browser.close()
    deciles = [statistics.quantiles(verb, n=10) for verb in times]
    return version, opened, [(ten[4], ten[0], ten[8]) for ten in deciles]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--write', action='store_true', help='write docs/index.html')
    write = parser.parse_args().write
    with tempfile.TemporaryDirectory() as folder:
        path, seconds = make(folder)
        if write:
            shutil.copyfile(path, REPOSITORY / 'docs/index.html')
            print('docs/index.html')
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
