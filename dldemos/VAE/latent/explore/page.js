'use strict';
// The page: what it says and keeps, its language, its tabs, and what the reader does.

function keep(content, name) {
  save(content, name);
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
  address();
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
    name: model.name, count: (model.n_images || 0).toLocaleString()});
  showPlaying();
  if (state.base) $('caption').textContent = caption();
  if (told) tell(...told);
}

const tabs = ['sliders', 'between', 'photo', 'map'];

function openTab(name, focus = true) {
  if (name !== 'between') stopPlaying();
  stopDemonstrating();
  for (const tab of tabs) {
    const button = $(`tab-${tab}`);
    button.setAttribute('aria-selected', tab === name);
    button.tabIndex = tab === name ? 0 : -1;
    $(tab).hidden = tab !== name;
  }
  if (name === 'photo' && photo.picture && state.source !== 'Photo') placed();
  if (focus) $(`tab-${name}`).focus({preventScroll: true});
}

function listen() {
  const click = (id, action) => $(id).addEventListener('click', action);
  click('random', () => setCode(randomCode(), 'Random'));
  click('mean', () => setCode(new Float32Array(N), 'Mean'));
  click('undo', undo);
  click('language', () => speak(words === WORDS.en ? 'zh' : 'en'));
  click('save-picture', () => keep(
    pngOf(asStrip([vae.decode(code())], SIDE, Math.max(512, SIDE))), 'face.png'));
  click('save-code', () => keep(toFile([code()], model.weights), 'code.json'));
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
    input.addEventListener('change', () => {
      renewWay();
      if (state.source === 'Way') walk(+$('way').value);
    });
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
  $('file').addEventListener('change', () => {
    openFile($('file').files[0]);
    $('file').value = '';                      // so that the same file can be chosen again
  });
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
  $('sample').addEventListener('change', () => {
    if ($('sample').checked) startSampling();
    else stopSampling();
  });
  $('another').addEventListener('click', drawNoise);

  // One finger, or the mouse, moves the photograph; two scale it as well.
  const share = event => [event.offsetX / picture.clientWidth,
                          event.offsetY / picture.clientHeight];
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
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1],
                  ArrowDown: [0, 1]}[event.key];
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
