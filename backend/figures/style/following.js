/* Curves and heat maps that follow an epoch while it is dragged: what belongs to other epochs is shown, faded or hidden
in the picture that is drawn already, as the server draws it after the release. `meta` comes from following.py. */

const texts = new Map();
const DIMMED = "0.35";
const LAYERS = ".scatterlayer > .trace, .heatmaplayer > .hm, .legend .traces";

export default function follow({ data } = {}) {
    let epoch, due;
    const showAll = () => {
        for (const plot of document.querySelectorAll(".js-plotly-plot")) show(plot, epoch);
        due ??= requestAnimationFrame(() => {
            due = null;
            for (const plot of document.querySelectorAll(".js-plotly-plot")) film(plot, epoch);
        });
    };
    const onEpoch = ({ detail: { at, names } }) => { epoch = names[Math.round(at)]; showAll(); };
    window.addEventListener("layershift:epoch", onEpoch);
    window.addEventListener("layershift:drawn", showAll); // of a file, which no server draws anew
    const watched = data?.key && watch(data);
    return () => {
        window.removeEventListener("layershift:epoch", onEpoch);
        window.removeEventListener("layershift:drawn", showAll);
        watched?.();
    };
}

/* Show a plot as it is at that epoch. */
function show(plot, epoch) {
    const layout = plot._fullLayout, epochs = layout?.meta?.epochs;
    if (!epochs?.labels?.map(plain).includes(epoch) || (plot.showing?.epoch === epoch && plot.showing.layout === layout)) return;
    plot.showing = { epoch, layout };
    for (const node of plot.querySelectorAll(LAYERS)) {
        const trace = (Array.isArray(node.__data__) ? node.__data__[0] : node.__data__)?.trace, own = trace?.meta;
        if (own?.epoch === undefined) continue;
        const opacity = plain(own.epoch) === epoch ? 1 : own.otherwise;
        const image = node.matches(".hm") ? node.querySelector("image") : node.querySelector(".layers") ?? node;
        if (image) image.style.opacity = opacity;
        if (own.speaks) trace.hoverinfo = opacity ? "all" : "skip";
    }
    for (const path of plot.querySelectorAll(".shapelayer path[data-index]")) {
        const name = layout.shapes[path.dataset.index]?.name;
        if (name?.startsWith("epoch: ")) path.style.opacity = plain(name) === `epoch: ${epoch}` ? 1 : 0;
    }
    const title = plot.querySelector(".gtitle");
    const words = Object.entries(epochs.titles ?? {}).find(([label]) => plain(label) === epoch);
    if (title && words) title.textContent = plain(words[1]);
}

/* Draw a plot as it is at that epoch, from what differs there; it is dimmed if that has not been computed yet. */
function film(plot, epoch) {
    const { chosen, filmed, frames } = plot._fullLayout?.meta?.epochs ?? {};
    if (!frames || epoch === undefined) return;
    const given = { data: plot.data, layout: plot.layout };
    const held = plot.film?.data === plot.data ? plot.film : { given, data: plot.data, epoch: plain(chosen) };
    plot.film = { ...held, epoch };
    const frame = frames[filmed.map(plain).indexOf(epoch)];
    plot.style.opacity = frame ? "" : DIMMED;
    plot.toggleAttribute("data-behind", !frame);
    if (!frame || held.epoch === epoch) return;
    const data = frame.whole ?? held.given.data.map((trace, i) => ({ ...trace, ...frame.traces[i] }));
    plot.film.data = data;
    window.Plotly.react(plot, data, { ...held.given.layout, ...frame.layout }, { ...plot._context });
}

/* Words that are escaped for plotly, as text. */
function plain(words) {
    if (!texts.has(words)) texts.set(words, new DOMParser().parseFromString(words, "text/html").body.textContent);
    return texts.get(words);
}

/* Report what the slider of the page shows while its thumb is held, which Streamlit itself says on release only. */
function watch({ key, names }) {
    const within = `.st-key-${CSS.escape(key)}`;
    let seen = null;
    const changes = new MutationObserver(() => {
        const slider = document.querySelector(within), label = slider?.querySelector("[aria-valuetext]")?.ariaValueText;
        const at = names.indexOf(label);
        if (at < 0 || label === seen || !slider.contains(document.activeElement)) return;
        seen = label;
        window.dispatchEvent(new CustomEvent("layershift:epoch", { detail: { at, names, from: "slider" } }));
    });
    changes.observe(document.body, { subtree: true, attributes: true, attributeFilter: ["aria-valuetext"] });
    return () => changes.disconnect();
}
