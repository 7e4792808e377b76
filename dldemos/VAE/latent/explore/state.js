'use strict';
// The state of the page, what draws it, and the work that is done between frames.

const $ = id => document.getElementById(id);
const model = JSON.parse($('model').textContent);
const vae = new VAE(model, readWeights(model.layers, $('weights').textContent));
const N = model.latent_dim, SIDE = model.image_size;
const directions = model.directions.map(([name, numbers]) => [name, Float32Array.from(numbers)]);
const noMotion = matchMedia('(prefers-reduced-motion: reduce)');
const N_UNDO = 200;            // states that can be gone back to
let words = WORDS.en;

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
  past.push({...state, base: Float32Array.from(state.base), amounts: [...state.amounts],
             noise: null});
  past = past.slice(-N_UNDO);
  $('undo').disabled = false;
}

function undo() {
  if (!past.length) return;
  stopDemonstrating();
  stopPlaying();
  stopSampling();
  Object.assign(state, past.pop());
  lastTag = null;
  $('undo').disabled = !past.length;
  changed();
}

// Another face.
function setCode(base, source, tag = null) {
  stopDemonstrating();
  if (tag !== 'way') stopPlaying();
  stopSampling();
  remember(tag);
  Object.assign(state, {base, amounts: directions.map(() => 0), source, changed: false});
  changed();
}

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
  address();
  knobs.forEach(knob => knob.renew());
}

// The code that is shown now, in the address.
function address() {
  try {
    history.replaceState(null, '', toAddress(code(), model.weights));
  } catch (error) {
    // Some browsers allow no address of a page from disk: the link is in the file, then.
  }
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
