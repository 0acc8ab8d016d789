// Requests to the server that this page came from. Whatever it answers is data: it is only ever set as text.
const token = document.querySelector('meta[name="review-token"]').content;

async function answer(response) {
  if (response.ok) return response.json();
  const text = await response.text();
  let words = text;
  try { words = JSON.parse(text).error ?? text; } catch { /* plain text */ }
  throw new Error(words || `status ${response.status}`);
}

export const episodes = async () => answer(await fetch('/api/episodes'));
export const episode = async (key) => answer(await fetch(`/api/episodes/${key}`));
export const decide = async (key, decision) => answer(await fetch(`/api/episodes/${key}/review`, {
  method: 'POST', headers: { 'content-type': 'application/json', 'x-review-token': token }, body: JSON.stringify(decision),
}));
export const thumbnail = (one) => `/api/episodes/${one.key}/thumbnail?v=${one.revision}`;
export const frame = (one, camera, index) => `/api/episodes/${one.key}/frames/${camera}/${index}`;
export const map = (one, camera, index) => `/api/episodes/${one.key}/maps/${camera}/${index}?v=${one.revision}`;

export function element(tag, { text, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

export const COLOURS = ['#4287f5', '#f08c1e', '#3cb44b', '#c850c8', '#e6be28', '#14bebe'];
export const colour = (index) => COLOURS[index % COLOURS.length];
