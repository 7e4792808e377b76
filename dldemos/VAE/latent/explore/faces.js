'use strict';
// Random faces to pick from; of a model whose codes are two numbers, the whole plane.

let gridCodes = [];

// Of N(0, I), or as far from the mean face as the reader set it.
function randomCode() {
  return vae.sampleCode(+$('temperature').value);
}

function newGrid() {
  gridCodes = Array.from({length: 16}, randomCode);
  gridCodes.forEach((one, i) => {
    const buttons = [$('grid').children[i], $('palette').children[i]];
    buttons[0].setAttribute('aria-pressed', 'false');
    drawLater(`grid ${i}`, buttons.map(button => button.firstChild), () => one);
  });
}

function makeGrid(place, pick) {
  for (let i = 0; i < 16; i++) {
    const button = $(place).appendChild(element('button', {type: 'button'}));
    button.appendChild(element('canvas', {width: SIDE, height: SIDE}));
    button.addEventListener('click', () => pick(i));
  }
  $(place).addEventListener('keydown', event => {
    const columns = getComputedStyle($(place)).gridTemplateColumns.split(' ').length;
    const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns}[event.key];
    const next = $(place).children[[...$(place).children].indexOf(document.activeElement) + step];
    if (!step || !next) return;
    event.preventDefault();
    next.focus();
  });
}

function pickFromGrid(i) {
  setCode(Float32Array.from(gridCodes[i]), 'Picked');
  [...$('grid').children].forEach((button, j) => button.setAttribute('aria-pressed', i === j));
}

function pickFromPalette(i) {
  setEnd(active, gridCodes[i]);
  activate(active === 'a' ? 'b' : 'a');
  walk(active === 'a' ? 1 : 0);                // the one just picked
}

// Of a model whose codes are two numbers: all of them, from the middle outwards.
function makePlane() {
  const n = 15, tile = Math.min(64, SIDE), plane = $('plane');
  plane.width = plane.height = n * tile;
  const cells = Array.from({length: n * n}, (_, i) => [i % n, Math.floor(i / n)]);
  const far = ([x, y]) => Math.hypot(x - (n - 1) / 2, y - (n - 1) / 2);
  for (const [x, y] of cells.sort((a, b) => far(a) - far(b))) {
    later(`plane ${x} ${y}`, plane, () => plane.getContext('2d').drawImage(
      asCanvas(vae.decode(Float32Array.of(6 * (x + 0.5) / n - 3, 3 - 6 * (y + 0.5) / n)), SIDE),
      x * tile, y * tile, tile, tile));
  }
  const follow = event => {
    if (event.pointerType !== 'mouse' && !event.buttons) return;
    const {left, top, width, height} = plane.getBoundingClientRect();
    goTo(6 * (event.clientX - left) / width - 3, 3 - 6 * (event.clientY - top) / height);
  };
  plane.addEventListener('pointermove', follow);
  plane.addEventListener('pointerdown', follow);
  plane.addEventListener('keydown', event => {
    const step = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1],
                  ArrowDown: [0, -0.1]}[event.key];
    if (!step) return;
    event.preventDefault();
    const [x, y] = code();
    goTo(x + step[0], y + step[1]);
  });
}

function goTo(x, y) {
  const within3 = z => Math.max(-3, Math.min(3, z));
  setCode(Float32Array.of(within3(x), within3(y)), 'Plane', 'plane');
}

function showHere() {
  if (N !== 2) return;
  const [x, y] = code();
  $('here').style.left = `${100 * (x + 3) / 6}%`;
  $('here').style.top = `${100 * (3 - y) / 6}%`;
}
