'use strict';
// Sliders under strips of faces: for numbers of the code, and for directions with a name.

const TILES = 7;               // faces in the strip above a slider
const N_KNOBS = 9;             // dimensions with a slider at first

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
    stopDemonstrating();
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
      drawLater(`${this.key} ${i}`, [this.strip], () => this.at(shown, value),
                i * this.strip.height);
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
    super(place, `direction-${k}`, 2, () => state.amounts[k],
          value => { state.amounts[k] = value; });
    this.input.dataset.direction = name;
    const [english, chinese] = ATTRIBUTES[name] || [];
    this.name = () => (words === WORDS.zh ? chinese : english) || name.replace(/_/g, ' ');
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
    if (state.base) knob.follow(code());
  }
  $('more').hidden = shown + N_KNOBS >= N;
}

let demonstrated = null;       // {knob, from, frame}: a slider that moves by itself

// Move a slider there and back, as a reader would.
function demonstrate(knob) {
  stopDemonstrating();
  const from = knob.read(code()), start = performance.now();
  const far = 0.9 * Math.max(1, knob.reach - Math.abs(from));
  remember();
  const step = now => {
    const t = Math.min(1, (now - start) / 3000);
    knob.write(from + (t < 1 ? far * Math.sin(2 * Math.PI * t) : 0));
    changed();
    if (t < 1) demonstrated.frame = requestAnimationFrame(step);
    else stopDemonstrating();
  };
  knob.place.classList.add('demonstrated');
  demonstrated = {knob, from, frame: requestAnimationFrame(step)};
}

// The reader does something else: put that slider back first.
function stopDemonstrating() {
  if (!demonstrated) return;
  const {knob, from, frame} = demonstrated;
  demonstrated = null;
  cancelAnimationFrame(frame);
  knob.write(from);
  knob.place.classList.remove('demonstrated');
  changed();
}
