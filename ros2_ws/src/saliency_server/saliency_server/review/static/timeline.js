// Phases, the frames' validity and each object's over time, with the corrected frames.
import { colour } from './api.js';

const ROW = 18, LABEL = 120, PAD = 4;

// A colour of the style sheet as the canvas takes it: light-dark() is resolved in `color` only.
function ink(canvas, name) {
  canvas.style.color = `var(${name})`;
  const found = getComputedStyle(canvas).color;
  canvas.style.color = '';
  return found;
}

export function draw(canvas, camera, phases, at) {
  const dim = ink(canvas, '--dim'), text = ink(canvas, '--text');
  const rows = camera.objects.length + 1 + (phases.length ? 1 : 0);
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = rows * ROW + 2 * PAD;
  canvas.style.height = `${height + 2}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const paint = canvas.getContext('2d');
  paint.scale(ratio, ratio);
  paint.font = '12px system-ui, sans-serif';
  paint.textBaseline = 'middle';
  const count = camera.times.length, x = (i) => LABEL + (width - LABEL - PAD) * i / count;
  let top = PAD;
  const label = (words, shade) => {
    paint.fillStyle = shade;
    paint.fillText(words.length > 17 ? `${words.slice(0, 16)}…` : words, PAD + 2, top + ROW / 2);
  };
  const stretches = (flags, on) => {
    for (let i = 0, from = 0; i <= count; i += 1) {
      if (i === count || flags[i] !== flags[from]) { if (flags[from]) on(from, i); from = i; }
    }
  };
  if (phases.length) {
    label('phase', dim);
    phases.forEach(([first, last, name], k) => {
      paint.globalAlpha = k % 2 ? 0.12 : 0.26;
      paint.fillStyle = text;
      paint.fillRect(x(first), top + 2, x(last + 1) - x(first) - 1, ROW - 4);
      paint.globalAlpha = 1;
      if (paint.measureText(name).width < x(last + 1) - x(first) - 6) paint.fillText(name, x(first) + 4, top + ROW / 2);
    });
    top += ROW;
  }
  const bar = (flags, shade) => {
    paint.fillStyle = dim;
    paint.globalAlpha = 0.15;
    paint.fillRect(x(0), top + 5, x(count) - x(0), ROW - 10);
    paint.globalAlpha = 1;
    paint.fillStyle = shade;
    stretches(flags, (from, to) => paint.fillRect(x(from), top + 4, Math.max(1, x(to) - x(from)), ROW - 8));
  };
  label('frame valid', dim);
  bar(camera.valid, ink(canvas, '--good'));
  top += ROW;
  camera.objects.forEach((thing, k) => {
    label(thing.name, thing.dropped ? dim : text);
    bar(thing.dropped ? [] : thing.valid, colour(k));
    paint.fillStyle = text;
    for (const i of thing.fixes) {
      const middle = x(i + 0.5), centre = top + ROW / 2;
      paint.beginPath();
      paint.moveTo(middle, centre - 6); paint.lineTo(middle + 5, centre);
      paint.lineTo(middle, centre + 6); paint.lineTo(middle - 5, centre);
      paint.fill();
    }
    top += ROW;
  });
  paint.fillStyle = ink(canvas, '--accent');
  paint.fillRect(x(at + 0.5) - 1, 0, 2, height);
}

export function frameAt(canvas, camera, event) {
  const box = canvas.getBoundingClientRect(), share = (event.clientX - box.left - LABEL) / (box.width - LABEL - PAD);
  return Math.max(0, Math.min(camera.times.length - 1, Math.floor(share * camera.times.length)));
}
