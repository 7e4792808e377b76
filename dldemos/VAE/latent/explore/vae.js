'use strict';
// The VAE of model.py, in plain JavaScript: the same verbs, the same layers under the same names.
//
// An image is a Float32Array in [0, 1], row by row from the top left, the channels of a pixel side
// by side: (height, width, channels), where torch has (channels, height, width). So the innermost
// loop of every layer runs over neighbours in memory, which is what makes it fast.
//
// Weights come folded (page.py): in evaluation mode batch normalisation is a multiplication and an
// addition per channel, and the convolution before it can do both.

class VAE {
  // sizes: {hiddens, latent_dim, image_size}; weights: {name: {weight, bias}}, Float32Array each.
  constructor(sizes, weights) {
    this.hiddens = sizes.hiddens;                                  // [16, 32, 64, 128, 256]
    this.latentDim = sizes.latent_dim;                             // 128
    this.imageSize = sizes.image_size;                             // 64
    this.side = this.imageSize >> this.hiddens.length;             // 64 -> 2 with five stages
    this.weights = weights;
  }

  // An image (64, 64, 3) -> mean and logvar of its code, (128) each.
  encode(image) {
    let features = image, side = this.imageSize, channels = 3;
    this.hiddens.forEach((width, i) => {
      features = convolution(features, side, channels, width, this.weights[`encoder.${i}`], 2);
      relu(features);
      side /= 2;
      channels = width;
    });
    return {mean: linear(features, this.weights.mean_linear),
            logvar: linear(features, this.weights.var_linear)};
  }

  // A sample of N(mean, exp(logvar)): mean + exp(logvar / 2) * eps.
  reparameterize(mean, logvar) {
    return mean.map((m, i) => m + Math.exp(logvar[i] / 2) * randn());
  }

  // A code (128) -> an image (64, 64, 3), at least 0 and meant to be at most 1.
  decode(code) {
    const widths = [...this.hiddens].reverse();                    // [256, 128, 64, 32, 16]
    let features = linear(code, this.weights.decoder_projection);  // (2, 2, 256)
    let side = this.side;
    widths.forEach((channels, i) => {
      const width = widths[Math.min(i + 1, widths.length - 1)];
      features = transposedConvolution(features, side, channels, width,
                                       this.weights[`decoder.${i}`]);
      relu(features);
      side *= 2;
    });
    const image = convolution(features, side, widths[widths.length - 1], 3,
                              this.weights[`decoder.${widths.length - 1}.3`], 1);
    relu(image);
    return image;
  }

  // A code of the prior N(0, I), or of a narrower or wider one.
  sampleCode(temperature = 1) {
    return Float32Array.from({length: this.latentDim}, () => temperature * randn());
  }
}

// Every output is a weighted sum of all inputs, and its bias. weight: (inputs, outputs).
function linear(input, {weight, bias}) {
  const output = Float32Array.from(bias), n = output.length;
  for (let i = 0; i < input.length; i++) {
    if (input[i] !== 0) addScaled(output, 0, weight, i * n, n, input[i]);
  }
  return output;
}

// 3 x 3, padding 1: every output pixel gathers its 3 x 3 neighbours, each times a matrix.
// input: (side, side, channels); weight: (3, 3, channels, width); output: sides shorter by stride.
function convolution(input, side, channels, width, {weight, bias}, stride) {
  const outSide = side / stride, output = repeat(bias, outSide * outSide);
  for (let y = 0; y < outSide; y++) {
    for (let x = 0; x < outSide; x++) {
      const to = (y * outSide + x) * width;
      for (let tap = 0; tap < 9; tap++) {                          // the neighbour: row, column
        const fromY = y * stride - 1 + Math.floor(tap / 3), fromX = x * stride - 1 + tap % 3;
        if (fromY < 0 || fromY >= side || fromX < 0 || fromX >= side) continue;
        const from = (fromY * side + fromX) * channels;
        for (let c = 0; c < channels; c++) {
          const value = input[from + c];
          if (value !== 0) {                                       // ReLU left many zeros
            addScaled(output, to, weight, (tap * channels + c) * width, width, value);
          }
        }
      }
    }
  }
  return output;
}

// 3 x 3, stride 2, padding 1, output padding 1: the convolution of stride 2, run backwards. Where
// that one gathers, this one scatters: every input pixel stamps its kernel, times its value, on a
// 3 x 3 patch of an output with twice the side, and where stamps overlap they add up.
// input: (side, side, channels); weight: (3, 3, channels, width); output: (2 side, 2 side, width).
function transposedConvolution(input, side, channels, width, {weight, bias}) {
  const outSide = 2 * side, output = repeat(bias, outSide * outSide);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const from = (y * side + x) * channels;
      for (let tap = 0; tap < 9; tap++) {                          // where in the patch
        const toY = 2 * y - 1 + Math.floor(tap / 3), toX = 2 * x - 1 + tap % 3;
        if (toY < 0 || toX < 0) continue;                          // the padding is cut off
        const to = (toY * outSide + toX) * width;
        for (let c = 0; c < channels; c++) {
          const value = input[from + c];
          if (value !== 0) {
            addScaled(output, to, weight, (tap * channels + c) * width, width, value);
          }
        }
      }
    }
  }
  return output;
}

// output[to ...] += factor * weight[from ...], n numbers. All of the model's work is done here.
function addScaled(output, to, weight, from, n, factor) {
  for (let i = 0; i < n; i++) output[to + i] += factor * weight[from + i];
}

function relu(values) {
  for (let i = 0; i < values.length; i++) if (values[i] < 0) values[i] = 0;
}

// The bias of every pixel: where the sums start.
function repeat(bias, pixels) {
  const output = new Float32Array(pixels * bias.length);
  for (let i = 0; i < pixels; i++) output.set(bias, i * bias.length);
  return output;
}

// A number of N(0, 1) (Box and Muller 1958).
function randn() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

// The weights in the page: 16-bit floats, one tensor after another, in base64.
// layers: [[name, length and scale of its weight, length and scale of its bias], ...]
function readWeights(layers, base64) {
  const letters = atob(base64), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  const halves = new Uint16Array(bytes.buffer), table = floatsOfHalves(), weights = {};
  let start = 0;
  const take = (n, scale) => {
    const tensor = new Float32Array(n);
    for (let i = 0; i < n; i++) tensor[i] = scale * table[halves[start + i]];
    start += n;
    return tensor;
  };
  for (const [name, nWeight, weightScale, nBias, biasScale] of layers) {
    weights[name] = {weight: take(nWeight, weightScale), bias: take(nBias, biasScale)};
  }
  return weights;
}

// The 65,536 numbers that 16 bits can mean: a sign, 5 bits of exponent, 10 of fraction (IEEE 754).
function floatsOfHalves() {
  return Float32Array.from({length: 65536}, (_, half) => {
    const sign = half & 0x8000 ? -1 : 1, exponent = half >> 10 & 31, fraction = half & 1023;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024)
                            : 2 ** -14 * fraction / 1024);
  });
}

if (typeof module !== 'undefined') module.exports = {VAE, readWeights};     // for Node
