'use strict';
// The way between two faces: its ends, a slider, an animation, files of it.

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
  const path = document.querySelector('[name=path]:checked').value === 'arc' ? slerp : lerp;
  return path(ends.a, ends.b, t);
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
    frames.push(pngOf(asStrip([vae.decode(between(t))], SIDE, shown)));
    await new Promise(resolve => setTimeout(resolve));
  }
  keep(animationOf([...frames, ...frames.slice(1, -1).reverse()], 80), 'walk.png');
}

function saveStrip() {
  const images = Array.from({length: 9}, (_, i) => vae.decode(between(i / 8)));
  keep(pngOf(asStrip(images, SIDE, Math.max(128, SIDE))), 'strip.png');
}
