'use strict';
// Codes: ways between two of them, and how one is written down in an address or a file.

const REACH = 6;               // of a number in the address, on either side; beyond, it is cut off
const CODES_FORMAT = 'dldemos.VAE codes 1';

// The code at t, from 0 to 1, on the straight line from a to b.
function lerp(a, b, t) {
  return a.map((x, i) => x + t * (b[i] - x));
}

// The same on the arc: random codes have nearly the same length, and a straight line between two
// passes through shorter ones, of which the decoder has seen few (White 2016).
function slerp(a, b, t) {
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const angle = Math.acos(Math.max(-1, Math.min(1, cosine)));
  if (!(Math.sin(angle) > 1e-4)) return lerp(a, b, t);   // one direction, opposite ones, no length
  const ofA = Math.sin((1 - t) * angle) / Math.sin(angle);
  const ofB = Math.sin(t * angle) / Math.sin(angle);
  return a.map((x, i) => ofA * x + ofB * b[i]);
}

function dot(a, b) {
  return a.reduce((sum, x, i) => sum + x * b[i], 0);
}

// A code as the end of an address: the weights it belongs to, then a byte a dimension.
function toAddress(code, weights) {
  const within = n => Math.max(-127, Math.min(127, n));
  const bytes = Array.from(code, x => 128 + within(Math.round(x / REACH * 127)));
  const letters = btoa(String.fromCharCode(...bytes)).replace(/=/g, '');
  return `#${weights.slice(0, 6)}.${letters.replace(/\+/g, '-').replace(/\//g, '_')}`;
}

// {weights, code} of such an address; null: it is none.
function fromAddress(hash) {
  const found = /^#([0-9a-f]*)\.([\w-]+)$/.exec(hash);
  if (!found) return null;
  try {
    const letters = atob(found[2].replace(/-/g, '+').replace(/_/g, '/'));
    return {weights: found[1],
            code: Float32Array.from(letters, letter => (letter.charCodeAt(0) - 128) / 127 * REACH)};
  } catch (error) {
    return null;                                         // letters that base64 does not have
  }
}

// The text of a file that `generate --code FILE` reads, and this page too.
function toFile(codes, weights) {
  return JSON.stringify({format: CODES_FORMAT, weights,
                         codes: codes.map(code => Array.from(code, x => +x.toFixed(5)))}) + '\n';
}

// {weights, code} of such a text, the first code in it; null: it is none.
function fromFile(text) {
  try {
    const {format, weights, codes} = JSON.parse(text);
    const numbers = codes[0];
    if (format !== CODES_FORMAT || !numbers.length || !numbers.every(Number.isFinite)) return null;
    const code = Float32Array.from(numbers);
    return code.every(Number.isFinite) ? {weights: String(weights || ''), code} : null;
  } catch (error) {
    return null;
  }
}
