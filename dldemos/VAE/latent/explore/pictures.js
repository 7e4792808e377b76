'use strict';
// Images (height, width, 3) of the model on canvases, and files to keep.

// A canvas with an image on it, a pixel for a pixel.
function asCanvas(image, side) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = side;
  const data = new ImageData(side, side), pixels = data.data;     // clamps to 0 ... 255
  for (let from = 0, to = 0; from < image.length; from += 3, to += 4) {
    for (let c = 0; c < 3; c++) pixels[to + c] = 255 * image[from + c];
    pixels[to + 3] = 255;
  }
  canvas.getContext('2d').putImageData(data, 0, 0);
  return canvas;
}

// Draw an image over a canvas, or over the square of a strip that begins at x. It is enlarged by
// two again and again: browsers draw straight lines between pixels, and this rounds them off.
function drawImage(canvas, image, side, x = 0) {
  let from = asCanvas(image, side);
  while (2 * from.width < canvas.height) {
    const twice = document.createElement('canvas');
    twice.width = twice.height = 2 * from.width;
    twice.getContext('2d').drawImage(from, 0, 0, twice.width, twice.width);
    from = twice;
  }
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(from, x, 0, canvas.height, canvas.height);
}

// Images beside each other, each `shown` pixels wide.
function asStrip(images, side, shown) {
  const canvas = document.createElement('canvas');
  canvas.width = images.length * shown;
  canvas.height = shown;
  images.forEach((image, i) => drawImage(canvas, image, side, i * shown));
  return canvas;
}

// The image (side, side, 3) in [0, 1] that a canvas shows, every pixel the mean of those it covers.
function shrunk(canvas, side) {
  const factor = canvas.width / side;                             // a whole number
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const image = new Float32Array(side * side * 3);
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const to = 3 * (Math.floor(y / factor) * side + Math.floor(x / factor));
      const from = 4 * (y * canvas.width + x);
      for (let c = 0; c < 3; c++) image[to + c] += pixels[from + c] / (255 * factor * factor);
    }
  }
  return image;
}

// Not by toBlob, which waits until the browser is idle.
function pngOf(canvas) {
  const letters = atob(canvas.toDataURL('image/png').split(',')[1]);
  return Uint8Array.from(letters, letter => letter.charCodeAt(0));
}

// PNGs of one size as an animated one, which starts anew at its end: their chunks in one file, after
// the time that each of them stays (www.w3.org/TR/png-3, section 11.3.4).
function animationOf(pngs, milliseconds) {
  const frames = pngs.map(chunksOf), header = frames[0].find(part => part.type === 'IHDR').data;
  const parts = [new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10])];
  let number = 0;                                                 // of the animation's own chunks
  parts.push(chunk('IHDR', header));
  parts.push(chunk('acTL', numbers32(frames.length, 0)));         // how many; 0: for ever
  frames.forEach((frame, i) => {
    parts.push(chunk('fcTL', joined([numbers32(number++), header.subarray(0, 8), numbers32(0, 0),
                                     new Uint8Array([milliseconds >> 8, milliseconds & 255,
                                                     1000 >> 8, 1000 & 255, 0, 0])])));
    for (const {data} of frame.filter(part => part.type === 'IDAT')) {
      parts.push(i ? chunk('fdAT', joined([numbers32(number++), data])) : chunk('IDAT', data));
    }
  });
  parts.push(chunk('IEND', new Uint8Array()));
  return joined(parts);
}

// [{type, data}, ...] of a PNG.
function chunksOf(bytes) {
  const view = new DataView(bytes.buffer), chunks = [];
  for (let at = 8; at < bytes.length;) {
    const length = view.getUint32(at);
    chunks.push({type: String.fromCharCode(...bytes.subarray(at + 4, at + 8)),
                 data: bytes.subarray(at + 8, at + 8 + length)});
    at += 12 + length;
  }
  return chunks;
}

// Length, type, data and checksum.
function chunk(type, data) {
  const content = joined([Uint8Array.from(type, letter => letter.charCodeAt(0)), data]);
  return joined([numbers32(data.length), content, numbers32(checksum(content))]);
}

// CRC-32, a bit at a time.
function checksum(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum >>> 1 ^ (sum & 1 ? 0xEDB88320 : 0);
  }
  return (sum ^ -1) >>> 0;
}

function numbers32(...values) {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setUint32(4 * i, value));
  return new Uint8Array(view.buffer);
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

// Hand a file to the reader. content: bytes or text.
function save(content, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], {type: 'application/octet-stream'}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
