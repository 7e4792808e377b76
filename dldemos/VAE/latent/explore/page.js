'use strict';
// The page: a state, what draws it, and what changes it. The model is in vae.js.

const $ = id => document.getElementById(id);
const model = JSON.parse($('model').textContent);
const vae = new VAE(model, readWeights(model.layers, $('weights').textContent));
const N = model.latent_dim, SIDE = model.image_size;
const directions = model.directions.map(([name, numbers]) => [name, Float32Array.from(numbers)]);
const noMotion = matchMedia('(prefers-reduced-motion: reduce)');
const TILES = 7;               // faces in the strip above a slider
const N_KNOBS = 9;             // dimensions with a slider at first
const N_UNDO = 200;
let words = WORDS.en;

// ---- The state: a code, and what is added to it ----

const state = {
  base: null,                  // a code
  amounts: directions.map(() => 0),
  noise: null,                 // of a sample of the posterior, else null
  source: 'Random',            // where the base is from
  changed: false,              // by a slider, since
};
let past = [], lastTag = null, lastTime = 0;

// The code that the face is drawn from.
function code() {
  const sum = Float32Array.from(state.base);
  if (state.noise) addScaled(sum, 0, state.noise, 0, N, 1);
  directions.forEach(([, direction], k) => addScaled(sum, 0, direction, 0, N, state.amounts[k]));
  return sum;
}

// Keep the state, for undo. Changes of one tag that follow each other closely count as one.
function remember(tag = null) {
  const now = performance.now(), goesOn = tag && tag === lastTag && now - lastTime < 1500;
  [lastTag, lastTime] = [tag, now];
  if (goesOn) return;
  past.push({...state, base: Float32Array.from(state.base), amounts: [...state.amounts], noise: null});
  past = past.slice(-N_UNDO);
  $('undo').disabled = false;
}

function undo() {
  if (!past.length) return;
  stopPlaying();
  stopSampling();
  Object.assign(state, past.pop());
  lastTag = null;
  $('undo').disabled = !past.length;
  changed();
}

// Another face.
function setCode(base, source, tag = null) {
  if (tag !== 'way') stopPlaying();
  stopSampling();
  remember(tag);
  Object.assign(state, {base, amounts: directions.map(() => 0), source, changed: false});
  changed();
}

// ---- What draws the state ----

let wanted = false, settling = null, lastChange = 0;

// The face at the next frame; what takes longer when nothing has changed for a while.
function changed() {
  lastChange = performance.now();
  if (!wanted) requestAnimationFrame(drawFace);
  wanted = true;
  clearTimeout(settling);
  settling = setTimeout(settled, 250);
}

function drawFace() {
  wanted = false;
  const shown = code();
  drawImage($('face'), vae.decode(shown), SIDE);
  knobs.forEach(knob => knob.follow(shown));
  $('caption').textContent = caption();
  showHere();
}

function caption() {
  return words[`of${state.source}`] + (state.noise ? words.sampled : '')
    + (state.changed ? words.changed : '');
}

function settled() {
  if (state.noise) return;                     // it changes all the time
  try {
    history.replaceState(null, '', toAddress(code(), model.weights));
  } catch (error) {
    // Some browsers allow no address of a page from disk: the link is in the file, then.
  }
  knobs.forEach(knob => knob.renew());
}

// Work of a few milliseconds each, done between frames: first what draws on a canvas in sight. A
// newer task of the same name takes the place of an older one.
const tasks = new Map();
let working = false;

function later(name, canvas, draw) {
  tasks.delete(name);
  tasks.set(name, {canvas, draw});
  if (!working) setTimeout(work);
  working = true;
}

function work() {
  if (performance.now() - lastChange < 100) {  // a slider is moving: the face goes first
    setTimeout(work, 50);
    return;
  }
  const [name, task] = [...tasks].find(([, {canvas}]) => canvas.offsetParent) || [...tasks][0];
  tasks.delete(name);
  task.draw();
  working = tasks.size > 0;
  if (working) setTimeout(work);
}

function drawLater(name, canvases, codeOf, x = 0) {
  const inSight = canvases.find(canvas => canvas.offsetParent) || canvases[0];
  later(name, inSight, () => {
    const image = vae.decode(codeOf());
    canvases.forEach(canvas => drawImage(canvas, image, SIDE, x));
  });
}

// ---- Sliders ----

const observer = new IntersectionObserver(entries => entries.forEach(({target, isIntersecting}) => {
  const knob = knobs.find(knob => knob.place === target);
  knob.visible = isIntersecting;
  if (isIntersecting && knob.stale) knob.renew();
}));
const knobs = [];

// A slider with its name, below a strip of the faces that it leads to.
class Knob {
  constructor(place, key, reach, read, write) {
    Object.assign(this, {key, reach, read, write, visible: false, stale: true});
    this.place = place.appendChild(element('div', {className: 'knob'}));
    this.label = this.place.appendChild(element('label', {htmlFor: key}));
    const stack = this.place.appendChild(element('div', {className: 'stack'}));
    const tile = Math.min(96, SIDE);
    this.strip = stack.appendChild(element('canvas', {
      className: 'strip', width: TILES * tile, height: tile, ariaHidden: 'true'}));
    this.strip.style.aspectRatio = `${TILES} / 1`;
    this.input = stack.appendChild(element('input', {
      type: 'range', id: key, min: -reach, max: reach, step: 0.05}));
    this.input.addEventListener('input', () => this.move(+this.input.value));
    this.strip.addEventListener('click', event => {
      this.move(this.reach * (2 * event.offsetX / this.strip.clientWidth - 1));
      this.input.focus();
    });
    knobs.push(this);
    observer.observe(this.place);
  }

  move(value) {
    remember(this.key);
    stopPlaying();
    this.write(value);
    state.changed = true;
    changed();
  }

  follow(shown) {
    const value = this.read(shown);
    if (Math.abs(this.input.value - value) > 0.026) this.input.value = value;
    this.input.setAttribute('aria-valuetext', value.toFixed(1));
  }

  // Draw the strip anew: from the face that is shown now, along this slider.
  renew() {
    this.stale = !this.visible;
    if (!this.visible) return;
    const shown = code();
    for (let i = 0; i < TILES; i++) {
      const value = this.reach * ((2 * i + 1) / TILES - 1);
      drawLater(`${this.key} ${i}`, [this.strip], () => this.at(shown, value), i * this.strip.height);
    }
  }
}

// Of one number of the code. Its value is that of the face shown, directions and all.
class DimensionKnob extends Knob {
  constructor(place, i) {
    super(place, `dimension-${i}`, 3, shown => shown[i], value => {
      state.base[i] += value - code()[i];
    });
    this.name = () => words.dimension.replace('{i}', i);
    this.at = (shown, value) => shown.map((x, j) => j === i ? value : x);
  }
}

// Of a direction with a name.
class DirectionKnob extends Knob {
  constructor(place, k) {
    const [name, direction] = directions[k];
    super(place, `direction-${k}`, 2, () => state.amounts[k], value => { state.amounts[k] = value; });
    this.input.dataset.direction = name;
    this.name = () => (ATTRIBUTES[name] || [])[words === WORDS.zh ? 1 : 0] || name.replace(/_/g, ' ');
    this.at = (shown, value) => {
      const moved = Float32Array.from(shown);
      addScaled(moved, 0, direction, 0, N, value - state.amounts[k]);
      return moved;
    };
  }
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function moreDimensions() {
  const shown = knobs.filter(knob => knob instanceof DimensionKnob).length;
  for (const i of model.order.slice(shown, shown + N_KNOBS)) {
    const knob = new DimensionKnob($('dimensions'), i);
    knob.label.textContent = knob.name();
    knob.input.step = 0.05;
    if (state.base) knob.follow(code());
  }
  $('more').hidden = shown + N_KNOBS >= N;
}

// Move a slider there and back, as a reader would.
function demonstrate(knob) {
  const from = knob.read(code()), start = performance.now();
  remember();
  const step = now => {
    const t = Math.min(1, (now - start) / 3000);
    knob.write(t < 1 ? from + (knob.reach - from * Math.sign(from || 1)) * Math.sin(2 * Math.PI * t) * 0.9
                     : from);
    changed();
    if (t < 1) requestAnimationFrame(step);
    else knob.place.classList.remove('demonstrated');
  };
  knob.place.classList.add('demonstrated');
  requestAnimationFrame(step);
}

// ---- Between two faces ----

const ends = {a: null, b: null};
let active = 'a', playing = null;

function setEnd(end, its) {
  ends[end] = Float32Array.from(its);
  drawLater(`end ${end}`, [$(`end-${end}`).querySelector('canvas')], () => ends[end]);
  renewWay();
}

function activate(end) {
  active = end;
  for (const name of ['a', 'b']) $(`end-${name}`).setAttribute('aria-pressed', name === end);
}

function between(t) {
  return (document.querySelector('[name=path]:checked').value === 'arc' ? slerp : lerp)(ends.a, ends.b, t);
}

function renewWay() {
  const strip = $('way-strip'), n = strip.width / strip.height;
  for (let i = 0; i < n; i++) {
    drawLater(`way ${i}`, [strip], () => between((i + 0.5) / n), i * strip.height);
  }
}

function walk(t) {
  $('way').value = t;
  setCode(between(t), 'Way', 'way');
}

function play() {
  if (playing) return stopPlaying();
  const start = performance.now() - Math.acos(1 - 2 * $('way').value) / Math.PI * 3000;
  const step = now => {
    walk((1 - Math.cos((now - start) / 3000 * Math.PI)) / 2);
    playing = requestAnimationFrame(step);
  };
  playing = requestAnimationFrame(step);
  showPlaying();
}

function stopPlaying() {
  if (playing) cancelAnimationFrame(playing);
  playing = null;
  showPlaying();
}

function showPlaying() {
  $('play').textContent = playing ? words.stop : words.play;
  $('play').setAttribute('aria-pressed', !!playing);
}

// There and back, a frame between frames.
async function saveWalk() {
  stopPlaying();
  tell('drawing');
  const frames = [], n = 16, shown = Math.max(128, SIDE);
  for (let i = 0; i < n; i++) {
    const t = (1 - Math.cos(Math.PI * i / (n - 1))) / 2;
    frames.push(asStrip([vae.decode(between(t))], SIDE, shown));
    await new Promise(resolve => setTimeout(resolve));
  }
  keep(await animationOf([...frames, ...frames.slice(1, -1).reverse()], 80), 'walk.png');
}

async function saveStrip() {
  const images = Array.from({length: 9}, (_, i) => vae.decode(between(i / 8)));
  keep(await pngOf(asStrip(images, SIDE, Math.max(128, SIDE))), 'strip.png');
}

// ---- The reader's photograph, and the noise of the posterior ----

const photo = new Photo($('picture'));
let posterior = null, encoding = false, sampling = null;

async function openFile(file) {
  if (!file) return;
  if (/json|text/.test(file.type) || /\.json$/i.test(file.name)) return openCode(await file.text(), file);
  if (!await photo.open(file)) return tell('noPicture');
  for (const id of ['size', 'turn']) $(id).disabled = false;
  openTab('photo', false);
  tell(null);
  showPhoto();
  placed();
}

function showPhoto() {
  $('choose').textContent = photo.picture ? words.chooseAnother : words.choose;
  $('drop').classList.toggle('empty', !photo.picture);
  $('eyes').textContent = photo.picture ? words.eyes : words.eyesFirst;
}

function openCode(text, file) {
  const found = fromFile(text);
  if (!found) return tell(/json/.test(file.type + file.name) ? 'noCode' : 'noPicture');
  useCode(found, 'File');
}

// A code of an address or a file, if it is one of this model.
function useCode(found, source) {
  if (found.code.length !== N) return tell('otherLength', {m: found.code.length});
  const same = !found.weights || !model.weights
    || model.weights.startsWith(found.weights) || found.weights.startsWith(model.weights);
  tell(same ? null : 'otherWeights');
  setCode(found.code, source);
}

// The photograph lies elsewhere: encode it at the next frame. What sliders add stays.
function placed() {
  $('size').value = photo.zoom;
  $('turn').value = photo.angle;
  if (!encoding) requestAnimationFrame(encodePhoto);
  encoding = true;
}

function encodePhoto() {
  encoding = false;
  photo.show();
  posterior = vae.encode(photo.image(SIDE));
  const {amounts, noise} = state;
  if (state.source !== 'Photo') return setCode(posterior.mean, 'Photo');
  remember('photo');
  Object.assign(state, {base: posterior.mean, amounts, noise, changed: amounts.some(x => x)});
  changed();
}

// The noise of a sample: of the photograph's distribution, or of that of the face shown.
function drawNoise() {
  if (state.source !== 'Photo' || !posterior) {
    if (!state.noise) posterior = vae.encode(vae.decode(state.base).map(x => Math.min(1, x)));
  }
  state.noise = vae.reparameterize(new Float32Array(N), posterior.logvar);
  changed();
}

function startSampling() {
  $('sample').checked = true;
  drawNoise();
  if (!noMotion.matches) sampling = setInterval(drawNoise, 200);
  $('another').disabled = false;
}

function stopSampling() {
  clearInterval(sampling);
  $('sample').checked = false;
  $('another').disabled = true;
  if (state.noise) {
    state.noise = null;
    changed();
  }
}

// ---- Faces to pick from, or the plane ----

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

// ---- Keep, tell, language, tabs ----

function keep(blob, name) {
  save(blob, name);
  tell('saved', {name});
}

let told = null;               // the last message, for when the language changes

function tell(word, values = {}) {
  told = word && [word, values];
  $('status').textContent = word ? filled(words[word], values) : '';
}

function filled(text, values = {}) {
  const all = {n: N, numbers: N === 1 ? words.one : words.many.replace('{n}', N), ...values};
  return text.replace(/\{(\w+)\}/g, (whole, name) => all[name] ?? whole);
}

async function copyLink() {
  settled();
  try {
    await navigator.clipboard.writeText(location.href);
    tell('copied');
  } catch (error) {
    tell('notCopied');
  }
}

function speak(language) {
  words = WORDS[language];
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  document.title = words.title;
  for (const place of document.querySelectorAll('[data-say]')) {
    place.textContent = filled(words[place.dataset.say]);
  }
  for (const place of document.querySelectorAll('[data-label]')) {
    place.setAttribute('aria-label', filled(words[place.dataset.label]));
  }
  showPhoto();
  if (N === 2) $('tab-map').textContent = words.tabPlane;
  $('language').textContent = words.other;
  $('language').lang = language === 'zh' ? 'en' : 'zh-CN';
  $('face').setAttribute('aria-label', words.faceLabel);
  knobs.forEach(knob => { knob.label.textContent = knob.name(); });
  for (const place of ['grid', 'palette']) {
    [...$(place).children].forEach((button, i) => button.setAttribute(
      'aria-label', filled(words.gridFace, {i: i + 1})));
  }
  $('about').textContent = filled(model.n_images ? words.aboutTrained : words.aboutUnknown, {
    name: model.name, count: (model.n_images || 0).toLocaleString(),
    kind: model.synthetic ? words.drawn : words.photographs});
  showPlaying();
  if (state.base) $('caption').textContent = caption();
  if (told) tell(...told);
}

const tabs = ['sliders', 'between', 'photo', 'map'];

function openTab(name, focus = true) {
  if (name !== 'between') stopPlaying();
  for (const tab of tabs) {
    const button = $(`tab-${tab}`);
    button.setAttribute('aria-selected', tab === name);
    button.tabIndex = tab === name ? 0 : -1;
    $(tab).hidden = tab !== name;
  }
  if (name === 'photo' && photo.picture && state.source !== 'Photo') placed();
  if (focus) $(`tab-${name}`).focus({preventScroll: true});
}

// ---- What the reader does ----

function listen() {
  const click = (id, action) => $(id).addEventListener('click', action);
  click('random', () => setCode(randomCode(), 'Random'));
  click('mean', () => setCode(new Float32Array(N), 'Mean'));
  click('undo', undo);
  click('language', () => speak(words === WORDS.en ? 'zh' : 'en'));
  click('save-picture', async () => keep(
    await pngOf(asStrip([vae.decode(code())], SIDE, Math.max(512, SIDE))), 'face.png'));
  click('save-code', () => keep(
    new Blob([toFile([code()], model.weights)], {type: 'application/json'}), 'code.json'));
  click('copy-link', copyLink);
  click('more', moreDimensions);

  tabs.forEach((tab, i) => {
    click(`tab-${tab}`, () => openTab(tab));
    $(`tab-${tab}`).addEventListener('keydown', event => {
      const next = {ArrowLeft: i + 3, ArrowRight: i + 1, Home: 0, End: 3}[event.key];
      if (next === undefined) return;
      event.preventDefault();
      openTab(tabs[next % 4]);
    });
  });

  for (const end of ['a', 'b']) {
    click(`end-${end}`, () => { activate(end); walk(end === 'a' ? 0 : 1); });
    const use = its => { setEnd(end, its); walk(end === 'a' ? 0 : 1); };
    click(`${end}-random`, () => use(randomCode()));
    click(`${end}-shown`, () => use(code()));
    click(`${end}-photo`, () => photo.picture ? use(vae.encode(photo.image(SIDE)).mean)
                                              : openTab('photo'));
  }
  $('way').addEventListener('input', () => { stopPlaying(); walk(+$('way').value); });
  for (const input of document.querySelectorAll('[name=path]')) {
    input.addEventListener('change', () => { renewWay(); if (state.source === 'Way') walk(+$('way').value); });
  }
  click('play', play);
  click('save-walk', saveWalk);
  click('save-strip', saveStrip);

  click('others', newGrid);
  $('temperature').addEventListener('input', newGrid);

  click('try-code', () => demonstrate(knobs[0]));
  click('try-near', () => { if (!playing) play(); });
  click('try-posterior', startSampling);
  click('try-prior', () => { $('temperature').value = 1.8; newGrid(); });

  document.addEventListener('keydown', event => {
    if (event.key === 'z' && (event.ctrlKey || event.metaKey) && !event.shiftKey) {
      event.preventDefault();
      undo();
    }
  });
  addEventListener('hashchange', () => {
    const found = fromAddress(location.hash);
    if (found) useCode(found, 'Link');
  });
  listenToPhoto();
}

function listenToPhoto() {
  const picture = $('picture'), fingers = new Map();
  $('choose').addEventListener('click', () => $('file').click());
  $('file').addEventListener('change', () => { openFile($('file').files[0]); $('file').value = ''; });
  for (const name of ['dragover', 'drop']) {
    addEventListener(name, event => {
      event.preventDefault();
      document.body.classList.toggle('dropping', name === 'dragover');
      if (name === 'drop') openFile(event.dataTransfer.files[0]);
    });
  }
  addEventListener('dragleave', () => document.body.classList.remove('dropping'));
  addEventListener('paste', event => openFile(event.clipboardData.files[0]));

  $('size').addEventListener('input', () => { photo.zoom = +$('size').value; placed(); });
  $('turn').addEventListener('input', () => { photo.turn(+$('turn').value); placed(); });
  $('sample').addEventListener('change', () => $('sample').checked ? startSampling() : stopSampling());
  $('another').addEventListener('click', drawNoise);

  // One finger, or the mouse, moves the photograph; two scale it as well.
  const share = event => [event.offsetX / picture.clientWidth, event.offsetY / picture.clientHeight];
  picture.addEventListener('pointerdown', event => {
    if (!photo.picture) return;
    picture.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, share(event));
  });
  picture.addEventListener('pointermove', event => {
    if (!fingers.has(event.pointerId)) return;
    const [x, y] = share(event), [fromX, fromY] = fingers.get(event.pointerId);
    photo.move((x - fromX) / fingers.size, (y - fromY) / fingers.size);
    for (const [id, [otherX, otherY]] of fingers) {
      if (id === event.pointerId) continue;
      photo.enlarge(Math.hypot(x - otherX, y - otherY) / Math.max(
        0.01, Math.hypot(fromX - otherX, fromY - otherY)), (x + otherX) / 2, (y + otherY) / 2);
    }
    fingers.set(event.pointerId, [x, y]);
    placed();
  });
  picture.addEventListener('click', () => { if (!photo.picture) $('file').click(); });
  for (const name of ['pointerup', 'pointercancel']) {
    picture.addEventListener(name, event => fingers.delete(event.pointerId));
  }
  picture.addEventListener('wheel', event => {
    if (!photo.picture) return;
    event.preventDefault();
    photo.enlarge(2 ** (-event.deltaY / 500), ...share(event));
    placed();
  }, {passive: false});
  picture.addEventListener('keydown', event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!photo.picture || !(step || '+-='.includes(event.key))) return;
    event.preventDefault();
    if (step) photo.move(step[0] / SIDE, step[1] / SIDE);
    else photo.enlarge(event.key === '-' ? 1 / 1.03 : 1.03);
    placed();
  });
}

// For the first impression: of some usual random faces that whose middle has the most edges.
function clearestOf(n) {
  const codes = Array.from({length: n}, () => vae.sampleCode(0.7));
  const edges = codes.map(one => {
    const image = vae.decode(one), from = Math.floor(SIDE / 4), to = SIDE - from;
    let sum = 0;
    for (let y = from; y < to; y++) {
      for (let at = 3 * (y * SIDE + from); at < 3 * (y * SIDE + to - 1); at++) {
        sum += Math.abs(image[at + 3] - image[at]);
      }
    }
    return sum;
  });
  return codes[edges.indexOf(Math.max(...edges))];
}

function start() {
  directions.forEach((_, k) => new DirectionKnob($('directions'), k));
  $('named').hidden = !directions.length;
  moreDimensions();
  makeGrid('grid', pickFromGrid);
  makeGrid('palette', pickFromPalette);
  const strip = $('way-strip');
  [strip.height, strip.width] = [SIDE, 9 * SIDE];
  for (const end of ['a', 'b']) {
    const canvas = $(`end-${end}`).querySelector('canvas');
    canvas.width = canvas.height = 256;
  }
  $('plane-place').hidden = N !== 2;
  $('grid-place').hidden = $('try-prior').hidden = N === 2;
  $('another').hidden = !noMotion.matches;
  $('another').disabled = true;
  speak(/^zh/i.test(navigator.language) ? 'zh' : 'en');
  openTab('sliders', false);
  listen();
  photo.show();

  state.base = clearestOf(8);
  const found = fromAddress(location.hash);
  if (found) useCode(found, 'Link');
  past = [];
  $('undo').disabled = true;
  changed();
  newGrid();
  setEnd('a', gridCodes[0]);
  setEnd('b', gridCodes[1]);
  if (N === 2) makePlane();
}

start();
