/** Shows the label of the point nearest to the pointer. It runs in browsers, so it is text here; it reads attributes and writes text, never markup. */
export const PAGE_SCRIPT = `
(() => {
  const tip = document.createElement('div');
  tip.id = 'tip';
  tip.hidden = true;
  document.body.append(tip);
  const SVG = 'http://www.w3.org/2000/svg';
  const show = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = event.clientX + 14 + width > innerWidth ? event.clientX - width - 14 : event.clientX + 14;
    const top = event.clientY + 14 + height > innerHeight ? event.clientY - height - 14 : event.clientY + 14;
    tip.style.left = Math.max(4, left) + 'px';
    tip.style.top = Math.max(4, top) + 'px';
  };
  const hide = () => { tip.hidden = true; };
  for (const piece of document.querySelectorAll('[data-label]')) {
    piece.querySelector('title')?.remove();
    piece.addEventListener('pointermove', (event) => show(event, piece.dataset.label));
    piece.addEventListener('pointerleave', hide);
  }
  for (const svg of document.querySelectorAll('figure.chart svg')) {
    const places = [];
    for (const line of svg.querySelectorAll('[data-labels]')) {
      const labels = JSON.parse(line.dataset.labels);
      line.getAttribute('points').split(' ').forEach((place, i) => {
        const [x, y] = place.split(',').map(Number);
        places.push({ x, y, label: labels[i] });
      });
    }
    if (places.length === 0) continue;
    svg.querySelector('title')?.remove();
    const here = document.createElementNS(SVG, 'circle');
    here.setAttribute('class', 'here');
    here.setAttribute('r', '6');
    const leave = () => { here.remove(); hide(); };
    svg.addEventListener('pointermove', (event) => {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale;
      const y = (event.clientY - box.top) * scale;
      let nearest = null;
      let least = 60 * 60;
      for (const place of places) {
        const distance = (place.x - x) ** 2 + (place.y - y) ** 2;
        if (distance < least) { least = distance; nearest = place; }
      }
      if (nearest === null) { leave(); return; }
      here.setAttribute('cx', nearest.x);
      here.setAttribute('cy', nearest.y);
      svg.append(here);
      show(event, nearest.label);
    });
    svg.addEventListener('pointerleave', leave);
  }
})();
`;
