// The grid of episodes, worst first.
import { element, thumbnail } from './api.js';

const MOST_DOUBTS = 2;

function card(one) {
  const share = Object.values(one.coverage);
  const lowest = share.length ? Math.min(...share) : 0;
  const bar = element('i', { className: lowest >= 0.9 ? '' : lowest > 0 ? 'low' : 'none' });
  bar.style.width = `${Math.round(100 * lowest)}%`;
  const picture = element('img', { src: thumbnail(one), alt: '', loading: 'lazy' });
  picture.onerror = () => picture.replaceWith(element('div', { className: 'none', text: 'no image' }));
  const doubts = one.doubts.slice(0, MOST_DOUBTS).map((text) => element('li', { text }));
  if (one.doubts.length > MOST_DOUBTS) doubts.push(element('li', { text: `and ${one.doubts.length - MOST_DOUBTS} more` }));
  if (!doubts.length) doubts.push(element('li', { text: 'no doubts' }));
  const made = element('a', { className: `card is-${one.status}`, href: `#${one.key}` }, picture,
    element('div', { className: 'body' },
      element('div', { className: 'title' },
        element('strong', { text: one.name, title: one.name }),
        element('span', { className: `badge ${one.status}`, text: one.status })),
      element('div', { className: 'meter', title: `least covered object: ${Math.round(100 * lowest)} %` }, bar),
      element('div', { className: 'dim',
        text: `${one.frames} frames, ${Math.round(100 * one.validShare)} % valid · recording ${one.grade}` }),
      element('ul', { className: one.doubts.length ? '' : 'fine' }, ...doubts)));
  made.dataset.name = one.name;
  return made;
}

export function show(found, wanted) {
  const chosen = found.episodes.filter((one) => wanted === 'all' || one.status === wanted);
  document.querySelector('#grid').replaceChildren(...chosen.map(card));
  const count = (status) => found.episodes.filter((one) => one.status === status).length;
  document.querySelector('#where').textContent = found.folder;
  document.querySelector('#counts').textContent =
    `${found.episodes.length} episodes: ${count('open')} open, ${count('accepted')} accepted, ${count('rejected')} rejected`;
}
