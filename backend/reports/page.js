const dark = window.matchMedia('(prefers-color-scheme: dark)');
const drawn = () => window.dispatchEvent(new Event('layershift:drawn'));
let paper = false;
const look = () => ({'font.color': !paper && dark.matches ? '#e7eaf0' : '#1b2330'});
const options = {displaylogo: false, responsive: true, toImageButtonOptions: {format: 'png', scale: 2},
  modeBarButtonsToRemove: ['zoom2d', 'pan2d', 'autoScale2d', 'zoomIn2d', 'zoomOut2d']};
const plots = [...document.querySelectorAll('.plot')];
const draw = plot => {
  if (plot.done || !plot.offsetWidth) return;
  plot.done = true;
  watcher.unobserve(plot);
  const {data, layout} = JSON.parse(plot.querySelector('script').textContent);
  layout.paper_bgcolor = layout.plot_bgcolor = 'rgba(0,0,0,0)';
  layout.font = {family: 'system-ui, sans-serif', size: 12, color: look()['font.color']};
  const screen = document.createElement('div');
  plot.append(screen);
  Plotly.newPlot(screen, data, layout, options).then(drawn);
  plot.screen = screen;
};
const watcher = new IntersectionObserver(
  seen => seen.forEach(one => one.isIntersecting && draw(one.target)), {rootMargin: '900px'});
plots.forEach(plot => watcher.observe(plot));
const repaint = () => plots.forEach(plot => plot.screen && Plotly.relayout(plot.screen, look()).then(drawn));
dark.addEventListener('change', repaint);
window.addEventListener('beforeprint', () => {
  paper = true;
  document.querySelectorAll('section > details, details.guide').forEach(one => { one.open = true; });
  plots.forEach(draw);
  repaint();
});
window.addEventListener('afterprint', () => { paper = false; repaint(); });
