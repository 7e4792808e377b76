'use strict';
// The reader's photograph, or a saved code, as the code of the page; samples of its posterior.

const photo = new Photo($('picture'));
let posterior = null, encoding = false, sampling = null;

let latest = null;             // file that was chosen: a large one before it may be read after it

async function openFile(file) {
  if (!file) return;
  latest = file;
  const isText = /json|text/.test(file.type) || /\.json$/i.test(file.name);
  // The browser turns a picture as its EXIF says.
  const content = await (isText ? file.text() : createImageBitmap(file)).catch(() => null);
  if (file !== latest) return;
  if (isText) return openCode(content, file);
  if (!content) return tell('noPicture');
  photo.take(content);
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
