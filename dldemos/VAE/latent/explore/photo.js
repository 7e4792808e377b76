'use strict';
// The reader's own photograph: where it lies under the two marks, and what the encoder sees of it.

// Where CelebA has the eyes, as shares of the side: at (67.9, 111.8) and (107.8, 111.9) of its
// 178 x 218 pixels (images/face.py), of which the middle 168 x 168 is taken.
const EYES = [[(67.9 - 5) / 168, (111.8 - 25) / 168], [(107.8 - 5) / 168, (111.9 - 25) / 168]];
const MOST_PIXELS = 1024;      // of the longer side: a larger photograph is made smaller first

class Photo {
  constructor(canvas) {
    this.canvas = canvas;
    this.picture = null;                     // a canvas
  }

  // Take the pixels of an image file.
  take(bitmap) {
    this.picture = within(bitmap, MOST_PIXELS);
    bitmap.close();
    this.reset();
  }

  // As a crop of CelebA: of its size the middle 168 pixels, of any other the largest square.
  reset() {
    const {width, height} = this.picture;
    const celebas = Math.abs(width / height - 178 / 218) < 0.001;
    this.x = this.y = 0.5;                   // where the middle of the photograph lies
    this.scale = 1 / Math.min(width, height) * (celebas ? 178 / 168 : 1);
    this.fitting = this.scale;
    this.angle = 0;                          // degrees
  }

  get zoom() { return Math.log2(this.scale / this.fitting); }
  set zoom(power) { this.enlarge(this.fitting * 2 ** power / this.scale); }

  // About a point of the canvas, in shares of its side: by default between the eyes.
  enlarge(factor, x = 0.5, y = EYES[0][1]) {
    const before = this.scale / this.fitting;
    factor = Math.max(0.5, Math.min(16, before * factor)) / before;
    this.x = x + (this.x - x) * factor;
    this.y = y + (this.y - y) * factor;
    this.scale *= factor;
  }

  turn(degrees) {
    const radians = (degrees - this.angle) * Math.PI / 180, [x, y] = [0.5, EYES[0][1]];
    const [dx, dy] = [this.x - x, this.y - y];
    this.x = x + dx * Math.cos(radians) - dy * Math.sin(radians);
    this.y = y + dx * Math.sin(radians) + dy * Math.cos(radians);
    this.angle = degrees;
  }

  move(dx, dy) {
    this.x = Math.max(-1, Math.min(2, this.x + dx));
    this.y = Math.max(-1, Math.min(2, this.y + dy));
  }

  // On a canvas, without the marks.
  drawOn(canvas) {
    const side = canvas.width, context = canvas.getContext('2d', {willReadFrequently: true});
    context.fillStyle = '#777';                                  // where the photograph ends
    context.fillRect(0, 0, side, side);
    context.save();
    context.imageSmoothingQuality = 'high';
    context.translate(this.x * side, this.y * side);
    context.rotate(this.angle * Math.PI / 180);
    context.scale(this.scale * side, this.scale * side);
    context.drawImage(this.picture, -this.picture.width / 2, -this.picture.height / 2);
    context.restore();
  }

  // What the encoder sees: (side, side, 3) in [0, 1]. Drawn larger first, so that every pixel is
  // a mean, as when Pillow resizes.
  image(side) {
    this.drawn = this.drawn || document.createElement('canvas');
    this.drawn.width = this.drawn.height = side * Math.max(2, Math.round(256 / side));
    this.drawOn(this.drawn);
    return shrunk(this.drawn, side);
  }

  // For the reader: with the marks, or these alone.
  show() {
    const side = this.canvas.width;
    const context = this.canvas.getContext('2d', {willReadFrequently: true});
    if (this.picture) this.drawOn(this.canvas);
    else context.clearRect(0, 0, side, side);
    for (const [colour, width] of [['rgba(0, 0, 0, .55)', 7], ['#fff', 3]]) {
      context.strokeStyle = this.picture || width > 3 ? colour : '#aaa';
      context.lineWidth = width;
      for (const [x, y] of EYES) {
        context.beginPath();
        context.arc(x * side, y * side, 0.045 * side, 0, 2 * Math.PI);
        context.stroke();
      }
    }
  }
}

// A picture as a canvas whose longer side has at most so many pixels, halved as often as it goes,
// so that none of its pixels is passed over. What is transparent becomes white.
function within(picture, most) {
  const factor = Math.min(1, most / Math.max(picture.width, picture.height));
  const width = Math.max(1, Math.round(picture.width * factor));
  const height = Math.max(1, Math.round(picture.height * factor));
  let from = picture;
  do {
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(width, Math.ceil(from.width / 2));
    canvas.height = Math.max(height, Math.ceil(from.height / 2));
    const context = canvas.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(from, 0, 0, canvas.width, canvas.height);
    from = canvas;
  } while (from.width > width || from.height > height);
  return from;
}
