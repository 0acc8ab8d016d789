// Which of the two is shown: the grid, or the episode whose key is in the address.
import * as api from './api.js';
import * as grid from './grid.js';
import * as player from './player.js';

const $ = (name) => document.querySelector(name);
let found = { folder: '', episodes: [], refused: [] };

function report(words) { $('#message').textContent = words; $('#message').hidden = !words; }

async function route() {
  const key = location.hash.slice(1);
  report('');
  $('#grid').hidden = Boolean(key);
  $('#player').hidden = !key;
  $('#filter-label').hidden = Boolean(key);
  try {
    if (key) { await player.open(key, report); return; }
    player.close();
    found = await api.episodes();
    if (found.refused.length) report(found.refused.join('\n'));
    grid.show(found, $('#filter').value);
  } catch (error) { report(error.message); }
}

async function go(step) {
  if (!found.episodes.length) found = await api.episodes();
  const keys = found.episodes.map((one) => one.key), at = keys.indexOf(location.hash.slice(1)) + step;
  location.hash = step && keys[at] ? keys[at] : '';
}

player.connect(go);
$('#filter').onchange = () => grid.show(found, $('#filter').value);
window.addEventListener('hashchange', route);
route();
