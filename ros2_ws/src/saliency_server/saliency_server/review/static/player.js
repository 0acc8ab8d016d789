// One episode: playing, selecting, correcting, deciding.
import * as api from './api.js';
import * as timeline from './timeline.js';
import * as view from './view.js';

const $ = (name) => document.querySelector(name);
const LEAST_PX = 3, SLOWEST_MS = 200;
const state = {
  one: null, camera: 0, at: 0, selected: null, playing: false, showMap: true, showBoxes: true, drag: null, adding: null,
};
let drawn = 0, timer = 0, report = () => {}, saving = Promise.resolve();
const camera = () => state.one.cameras[state.camera];

export async function open(key, tell) {
  report = tell;
  stop();
  const one = await api.episode(key);
  Object.assign(state, { one, camera: 0, at: 0, selected: null, adding: null, drag: null });
  $('#camera').replaceChildren(...one.cameras.map((each, i) => api.element('option', { value: i, text: each.camera })));
  $('#camera').hidden = one.cameras.length < 2;
  $('#note').value = one.note;
  refresh();
}

export function close() { stop(); state.one = null; }

function refresh() {
  const { one } = state;
  $('#name').textContent = one.name;
  for (const [where, value] of [['#grade', one.grade], ['#status', one.status]]) {
    $(where).textContent = where === '#grade' ? `recording ${value}` : value;
    $(where).className = `badge ${value}`;
  }
  $('#instruction').textContent = one.instruction;
  $('#accept').classList.toggle('on', one.status === 'accepted');
  $('#reject').classList.toggle('on', one.status === 'rejected');
  $('#reopen').hidden = one.status === 'open';
  $('#doubts').replaceChildren(...one.doubts.map((text) => api.element('li', { text })));
  const shown = one.cameras.length > 0;
  for (const where of ['#view', '#timeline', '#add', '#play', '#doubtful']) $(where).hidden = !shown;
  if (shown) objects(); else $('#objects').replaceChildren();
  redraw();
}

function objects() {
  $('#objects').replaceChildren(...camera().objects.map((thing, k) => {
    const share = thing.valid.reduce((sum, ok) => sum + ok, 0) / Math.max(1, thing.valid.length);
    const swatch = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const square = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    for (const [name, value] of [['width', 14], ['height', 14], ['rx', 3], ['fill', api.colour(k)]]) square.setAttribute(name, value);
    swatch.append(square);
    const drop = api.element('button', { text: thing.dropped ? 'take back' : 'drop', className: 'drop' });
    drop.onclick = (event) => { event.stopPropagation(); dropped(thing, !thing.dropped); };
    const fixes = thing.fixes.length ? ` · ${thing.fixes.length} corrected` : '';
    const row = api.element('li', { className: `${thing.dropped ? 'dropped' : ''}` }, swatch,
      api.element('span', { className: 'label', text: thing.name }), drop,
      api.element('span', { className: 'facts', text: `${thing.role} · valid in ${Math.round(100 * share)} %${fixes}` }));
    if (thing.fixes.includes(state.at)) {
      const undo = api.element('button', { text: 'undo this correction', className: 'undo' });
      undo.onclick = () => save({ do: 'unfix', camera: state.camera, object: thing.name, frame: state.at });
      row.append(undo);
    }
    row.classList.toggle('selected', state.selected === thing.name);
    row.dataset.name = thing.name;
    row.onclick = () => select(thing.name);
    return row;
  }));
}

function redraw() {
  if (!state.one || !state.one.cameras.length) { $('#why').textContent = state.one?.problem || 'not annotated'; return; }
  const mine = ++drawn, now = camera();
  view.draw($('#view'), state, () => mine === drawn).catch((error) => report(error.message));
  timeline.draw($('#timeline'), now, state.camera === 0 ? state.one.phases : [], state.at);
  $('#clock').textContent = `${now.times[state.at].toFixed(2)} s  ·  frame ${state.at + 1} of ${now.times.length}`;
  const thing = now.objects.find((each) => each.name === state.selected);
  const own = thing && !thing.dropped && thing.reason[state.at] ? `${thing.name}: ${thing.reason[state.at]}` : '';
  $('#why').textContent = state.adding ? `drag a box around the ${state.adding.object}`
    : now.reason[state.at] ? `not valid: ${now.reason[state.at]}` : own;
}

function seek(index) {
  const before = state.at;
  state.at = Math.max(0, Math.min(camera().times.length - 1, index));
  if (camera().objects.some((each) => each.fixes.includes(before) !== each.fixes.includes(state.at))) objects();
  redraw();
}

function select(name) { state.selected = state.selected === name ? null : name; state.adding = null; objects(); redraw(); }

function play() {
  if (state.playing) { stop(); return; }
  state.playing = true;
  $('#play').textContent = 'pause';
  if (state.at >= camera().times.length - 1) state.at = 0;
  const step = () => {
    if (!state.playing || state.at >= camera().times.length - 1) { stop(); return; }
    const pause = 1000 * (camera().times[state.at + 1] - camera().times[state.at]);
    timer = setTimeout(() => { seek(state.at + 1); step(); }, Math.min(SLOWEST_MS, pause));
  };
  step();
}

function stop() { state.playing = false; clearTimeout(timer); $('#play').textContent = 'play'; }

function doubt(step) {
  const now = camera();
  for (let i = state.at + step; i >= 0 && i < now.times.length; i += step) {
    if (!now.valid[i] && (now.valid[i - step] || i === state.at + step)) { seek(i); return; }
  }
}

// Decisions go one after the other; the answer is the episode as it now lies on the disk.
function save(decision) {
  const { key } = state.one;
  saving = saving.then(async () => {
    try {
      const one = await api.decide(key, decision);
      report('');
      if (state.one?.key === key) { state.one = one; refresh(); }
      document.body.dataset.saved = one.revision;
    } catch (error) { report(`not saved: ${error.message}`); }
  });
  return saving;
}

const dropped = (thing, value) => save({ do: 'drop', camera: state.camera, object: thing.name, dropped: value });
const status = (value) => save({ do: 'status', status: state.one.status === value ? 'open' : value });

function drawnBox() {
  const { x0, y0, x1, y1 } = state.drag;
  state.drag = null;
  const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
  if (box[2] - box[0] < LEAST_PX || box[3] - box[1] < LEAST_PX) { redraw(); return; }
  const base = { camera: state.camera, frame: state.at, box };
  if (state.adding) {
    save({ do: 'add', ...base, ...state.adding });
    state.selected = state.adding.object;
    state.adding = null;
    $('#new-name').value = '';
  } else if (state.selected) save({ do: 'fix', ...base, object: state.selected });
  else { report('select an object first, then drag its box'); redraw(); }
}

export function connect(go) {
  const canvas = $('#view');
  canvas.onpointerdown = (event) => {
    stop();
    const [x, y] = view.place(canvas, camera(), event);
    state.drag = { x0: x, y0: y, x1: x, y1: y };
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (!state.drag) return;
    [state.drag.x1, state.drag.y1] = view.place(canvas, camera(), event);
    redraw();
  };
  canvas.onpointerup = () => { if (state.drag) drawnBox(); };
  canvas.onpointercancel = () => { state.drag = null; redraw(); };
  const line = $('#timeline');
  line.onpointerdown = (event) => { line.setPointerCapture(event.pointerId); seek(timeline.frameAt(line, camera(), event)); };
  line.onpointermove = (event) => { if (event.buttons) seek(timeline.frameAt(line, camera(), event)); };
  $('#play').onclick = play;
  $('#doubtful').onclick = () => doubt(1);
  $('#accept').onclick = () => status('accepted');
  $('#reject').onclick = () => status('rejected');
  $('#reopen').onclick = () => save({ do: 'status', status: 'open' });
  $('#previous').onclick = () => go(-1);
  $('#next').onclick = () => go(1);
  $('#camera').onchange = (event) => { state.camera = Number(event.target.value); state.at = 0; state.selected = null; refresh(); };
  $('#show-map').onchange = (event) => { state.showMap = event.target.checked; redraw(); };
  $('#show-boxes').onchange = (event) => { state.showBoxes = event.target.checked; redraw(); };
  $('#note').onchange = (event) => save({ do: 'note', note: event.target.value });
  $('#add').onsubmit = (event) => {
    event.preventDefault();
    const object = $('#new-name').value.trim();
    if (!object) { report('give the missing object a name first'); return; }
    state.adding = { object, role: $('#new-role').value };
    redraw();
  };
  window.addEventListener('resize', redraw);
  const keys = {
    ' ': play, ArrowRight: (e) => seek(state.at + (e.shiftKey ? 10 : 1)), ArrowLeft: (e) => seek(state.at - (e.shiftKey ? 10 : 1)),
    Home: () => seek(0), End: () => seek(camera().times.length - 1), ']': () => doubt(1), '[': () => doubt(-1),
    m: () => $('#show-map').click(), b: () => $('#show-boxes').click(),
    d: () => { const thing = camera().objects.find((each) => each.name === state.selected); if (thing) dropped(thing, !thing.dropped); },
  };
  const always = { a: () => status('accepted'), r: () => status('rejected'), n: () => go(1), p: () => go(-1), Escape: () => go(0) };
  document.addEventListener('keydown', (event) => {
    if (!state.one || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== 'checkbox') {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const thing = /^[1-9]$/.test(key) && state.one.cameras.length ? camera().objects[Number(key) - 1] : null;
    const act = thing ? () => select(thing.name) : always[key] ?? (state.one.cameras.length ? keys[key] : null);
    if (!act || (key === ' ' && event.target.tagName === 'BUTTON')) return;
    event.preventDefault();
    act(event);
  });
}
