// One frame on the canvas: image, map, boxes, names; and the box that is being dragged.
import * as api from './api.js';

const AHEAD = 12, MOST_KEPT = 240;
const kept = new Map();

function picture(address) {
  if (!kept.has(address)) {
    const image = new Image();
    image.src = address;
    kept.set(address, image.decode().then(() => image, () => null));
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(address);
}

export async function draw(canvas, state, current) {
  const { one, camera: number, at } = state, camera = one.cameras[number];
  const wantsMap = state.showMap && camera.valid[at];
  const [image, overlay] = await Promise.all([
    picture(api.frame(one, number, at)), wantsMap ? picture(api.map(one, number, at)) : null]);
  if (!current()) return;
  const scale = Math.max(1, Math.ceil(960 / camera.width));
  canvas.width = camera.width * scale;
  canvas.height = camera.height * scale;
  const paint = canvas.getContext('2d');
  if (image) paint.drawImage(image, 0, 0, canvas.width, canvas.height);
  else { paint.fillStyle = '#9aa1a9'; paint.font = '24px system-ui'; paint.fillText('unreadable image', 24, 48); }
  if (overlay) paint.drawImage(overlay, 0, 0, canvas.width, canvas.height);
  if (state.showBoxes) camera.objects.forEach((thing, k) => { if (!thing.dropped) box(paint, thing, k, at, scale, state); });
  if (state.drag) {
    const { x0, y0, x1, y1 } = state.drag;
    paint.setLineDash([8, 6]); paint.lineWidth = 3; paint.strokeStyle = '#fff';
    paint.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
    paint.setLineDash([]);
  }
  canvas.dataset.frame = at;
  for (let i = at + 1; i <= Math.min(at + AHEAD, camera.times.length - 1); i += 1) {
    picture(api.frame(one, number, i));
    if (state.showMap && camera.valid[i] && state.playing) picture(api.map(one, number, i));
  }
}

function box(paint, thing, k, at, scale, state) {
  const found = thing.boxes[at];
  if (!found) return;
  const [x0, y0, x1, y1] = found.map((value) => value * scale), selected = state.selected === thing.name;
  const corrected = thing.fixes.includes(at);
  paint.globalAlpha = thing.valid[at] ? 1 : 0.45;
  paint.strokeStyle = api.colour(k);
  paint.lineWidth = selected ? 5 : 3;
  if (!thing.valid[at]) paint.setLineDash([6, 6]);
  paint.strokeRect(x0, y0, x1 - x0, y1 - y0);
  paint.setLineDash([]);
  paint.font = '600 18px system-ui, sans-serif';
  const words = `${thing.name}${corrected ? ' ◆' : ''} ${thing.score[at].toFixed(2)}`;
  const width = paint.measureText(words).width + 10, left = Math.min(x0 - 1, paint.canvas.width - width);
  const top = y0 > 26 ? y0 - 26 : y1 + 2;
  paint.fillStyle = api.colour(k);
  paint.fillRect(left, top, width, 24);
  paint.fillStyle = '#fff';
  paint.fillText(words, left + 5, top + 18);
  paint.globalAlpha = 1;
}

// Position in px of the frame; the canvas is letterboxed by object-fit: contain.
export function place(canvas, camera, event) {
  const box = canvas.getBoundingClientRect(), scale = Math.min(box.width / camera.width, box.height / camera.height);
  const x = (event.clientX - box.left - (box.width - camera.width * scale) / 2) / scale;
  const y = (event.clientY - box.top - (box.height - camera.height * scale) / 2) / scale;
  return [Math.max(0, Math.min(camera.width, x)), Math.max(0, Math.min(camera.height, y))];
}
