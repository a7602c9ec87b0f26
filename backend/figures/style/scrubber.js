/* Panels of points that move between checkpoints while the slider under them is dragged or played.

The page mounts the default export as a Streamlit component, the report calls it itself. `data` comes from
backend/figures/style/scrubber.py. Points are pixels written into one image buffer per panel: 5 ms for 26 panels of
1,000 points, where drawing calls take 32 and more. What is chosen (epoch, reference, review) comes as an event of its
own, so that the points are sent only once. */

const FULL = 32767, MISSING = -32768;
const STEP_MS = 1100, REST_MS = 450, SETTLE_MS = 260, ECHO_MS = 5000;
const NEAR = 11, RING = "#c2185b";
const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
    play: "M3 1.5v11l9-5.5z",
    stop: "M2.5 2.5h9v9h-9z",
    save: "M6 1h2v6h2.5L7 10.5 3.5 7H6zM1.5 11h11v1.8h-11z",
    back: "M8.5 2 3.5 7l5 5 1.2-1.2L5.9 7l3.8-3.8z",
};
const pictures = new WeakMap();

export default function mountScrubber({ data, parentElement, setTriggerValue }) {
    const root = parentElement.querySelector(".scrubber");
    let picture = pictures.get(root);
    if (!picture) pictures.set(root, (picture = new Scrubber(root)));
    picture.tell = setTriggerValue;
    picture.take(data);
    return () => setTimeout(() => root.isConnected || picture.leave());
}

/* ---- shapes -------------------------------------------------------------------------------------------------- */

const star = (corners, inner, turn) => (x, y) => {
    const sector = Math.PI / corners;
    let angle = Math.abs(Math.atan2(y, x) - turn) % (2 * sector);
    if (angle > sector) angle = 2 * sector - angle;
    const far = Math.hypot(x, y), [px, py] = [far * Math.cos(angle), far * Math.sin(angle)];
    const [qx, qy] = [inner * Math.cos(sector), inner * Math.sin(sector)];
    return (qx - 1) * py - qy * (px - 1) >= 0 || far === 0;
};
const INSIDE = {
    circle: (x, y) => x * x + y * y <= 1,
    diamond: (x, y) => Math.abs(x) + Math.abs(y) <= 1.28,
    square: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 0.88,
    "triangle-up": (x, y) => y <= 0.75 && y >= 1.9 * Math.abs(x) - 1.25,
    "triangle-down": (x, y) => y >= -0.75 && -y >= 1.9 * Math.abs(x) - 1.25,
    cross: (x, y) => Math.max(Math.abs(x), Math.abs(y)) <= 1.15 && Math.min(Math.abs(x), Math.abs(y)) <= 0.42,
    x: (x, y) => Math.abs(x) + Math.abs(y) <= 1.6 && Math.min(Math.abs(x + y), Math.abs(x - y)) <= 0.6,
    star: (x, y) => star(5, 0.5, -Math.PI / 2)(x / 1.35, y / 1.35),
};

/* Pixels that a marker covers, at one of 4 x 4 places within a pixel: offsets into the buffer, and coverage 0..255. */
function stamp(inside, radius, dx, dy, width) {
    const reach = Math.ceil(radius * 1.4) + 1, offsets = [], covers = [];
    for (let y = -reach; y <= reach; y++) {
        for (let x = -reach; x <= reach; x++) {
            let hits = 0;
            for (let i = 0; i < 36; i++) {
                hits += inside((x + ((i % 6) + 0.5) / 6 - 0.5 - dx) / radius, (y + (((i / 6) | 0) + 0.5) / 6 - 0.5 - dy) / radius);
            }
            if (hits) { offsets.push(y * width + x); covers.push(Math.round((hits * 255) / 36)); }
        }
    }
    return { offsets: Int32Array.from(offsets), covers: Uint8Array.from(covers) };
}

function stamps(symbol, radius, width) {
    const inside = INSIDE[symbol] ?? INSIDE.circle;
    return Array.from({ length: 16 }, (_, i) => stamp(inside, radius, ((i & 3) - 1.5) / 4, ((i >> 2) - 1.5) / 4, width));
}

/* Write one marker over what is there; pixels are red, green, blue, alpha from the lowest byte on. */
function press(pixels, at, { offsets, covers }, colour) {
    const red = colour & 255, green = (colour >> 8) & 255, blue = (colour >> 16) & 255;
    for (let k = 0; k < offsets.length; k++) {
        const place = at + offsets[k], cover = covers[k];
        const under = pixels[place];
        if (cover === 255) pixels[place] = 0xff000000 | colour;
        else if (under === 0) pixels[place] = (cover << 24) | colour;
        else if (under >>> 24 === 255) { // two channels at a time; shares are of 256
            const share = cover + (cover >> 7), rest = 256 - share;
            const both = ((((colour & 0xff00ff) * share + (under & 0xff00ff) * rest) >>> 8) & 0xff00ff);
            pixels[place] = 0xff000000 | both | ((((green * share) + ((under >> 8) & 255) * rest)) & 0xff00);
        } else {
            const below = ((under >>> 24) * (255 - cover)) / 255, alpha = cover + below;
            const over = cover / alpha, rest = below / alpha;
            pixels[place] = (Math.round(alpha) << 24)
                | ((blue * over + ((under >> 16) & 255) * rest) << 16)
                | ((green * over + ((under >> 8) & 255) * rest) << 8)
                | (red * over + (under & 255) * rest);
        }
    }
}

/* ---- small things -------------------------------------------------------------------------------------------- */

function make(tag, name, inside, more = {}) {
    const node = Object.assign(document.createElement(tag), more);
    if (name) node.className = name;
    inside?.append(node);
    return node;
}

function icon(name) {
    const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
    svg.setAttribute("viewBox", "0 0 14 14");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
}

const unpack = text => {
    const bytes = Uint8Array.from(atob(text), one => one.charCodeAt(0));
    return new Int16Array(bytes.buffer);
};
const packed = colour => {
    const [r, g, b] = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16));
    return (b << 16) | (g << 8) | r;
};
const percent = share => (share === null ? "" : `${Math.round(100 * share)}`);
const number = value => (value === null ? "" : Number(value.toPrecision(3)).toString());

/* ---- the picture --------------------------------------------------------------------------------------------- */

class Scrubber {
    constructor(root) {
        this.root = root;
        root.picture = this;
        this.at = 0;
        this.view = {};
        this.hovered = -1;
        this.large = -1;
        this.sent = new Map();
        this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
        this.onView = event => event.detail.key === this.data?.key && this.follow(event.detail);
        window.addEventListener("layershift:view", this.onView);
        this.onSlider = ({ detail }) => detail.from === "slider" && this.slide(this.data.names.indexOf(detail.names[detail.at]));
        window.addEventListener("layershift:epoch", this.onSlider);
        this.sizes = new ResizeObserver(() => this.layout());
        this.sizes.observe(root);
        root.addEventListener("keydown", event => this.onKey(event));
    }

    leave() {
        window.removeEventListener("layershift:view", this.onView);
        window.removeEventListener("layershift:epoch", this.onSlider);
        this.sizes.disconnect();
        this.stop(false);
        pictures.delete(this.root);
    }

    take(data) {
        if (data !== this.data) {
            const before = this.data;
            this.data = data;
            this.packed = null;
            this.xy = unpack(data.xy);
            this.arrows = unpack(data.arrows);
            this.block = data.layers * data.labels.length * 2;
            this.order = interleaved(data.labels, data.classes.length);
            if (!before || before.shape !== data.shape) this.build();
            this.write();
        }
        this.colours();
        this.follow(data.view ?? window.layershiftViews?.[data.key] ?? this.view);
        this.layout(true);
    }

    /* What the page chose: checkpoint, reference, review. Echoes of epochs that were left again are ignored. */
    follow(view) {
        const { names } = this.data, old = this.view;
        const goal = names.indexOf(view.epoch);
        if (goal < 0) return; // of another study, or not there yet
        this.view = view;
        this.left = Math.max(0, names.indexOf(view.reference));
        if (view.review !== old.review) this.chosen = view.review ?? -1;
        const since = this.sent.get(view.epoch), stale = performance.now() - (since ?? -Infinity) < ECHO_MS;
        const last = [...this.sent.keys()].at(-1);
        if (old.epoch === undefined) {
            this.at = goal;
            this.layout(true);
        } else if (view.epoch !== old.epoch && !(stale && view.epoch !== last) && !this.busy && goal !== this.at) this.glide(goal);
        if (view.epoch === last) this.sent.clear();
        this.describe();
        this.draw();
    }

    get busy() { return this.dragging || this.playing; }
    get last() { return this.data.names.length - 1; }

    /* ---- elements */

    build() {
        const { data, root } = this;
        root.replaceChildren();
        root.setAttribute("role", "group");
        this.drawLegend();
        const sides = make("div", "sides", root);
        this.sides = (data.names.length > 1 ? ["left", "right"] : ["left"]).map(name => this.makeSide(name, sides));
        this.makeBar();
        this.caption = make("p", "chosen", root);
        this.table = make("details", "numbers", root);
        make("summary", "", this.table, { textContent: "Numbers at every layer" });
        this.table.addEventListener("toggle", () => this.fillTable());
        make("div", "", this.table);
        this.tip = make("div", "tip", root, { hidden: true });
    }

    drawLegend() {
        const { data } = this, legend = make("div", "legend", this.root);
        if (data.scale) {
            const item = make("span", "", legend), svg = document.createElementNS(SVG, "svg"), wide = 96 / data.classes.length;
            svg.setAttribute("class", "scale");
            svg.setAttribute("viewBox", "-48 -8 96 16");
            svg.setAttribute("aria-hidden", "true");
            data.classes.forEach(({ colour }, i) => {
                const step = document.createElementNS(SVG, "polygon"), [x, end] = [i * wide - 48, (i + 1) * wide - 48];
                step.setAttribute("points", `${x},-5 ${end},-5 ${end},5 ${x},5`);
                step.setAttribute("fill", colour);
                svg.append(step);
            });
            item.append(svg, data.scale);
        } else for (const { word, colour, symbol } of data.classes) {
            const item = make("span", "", legend), radius = 4.6;
            const svg = document.createElementNS(SVG, "svg"), inside = INSIDE[symbol] ?? INSIDE.circle;
            svg.setAttribute("viewBox", "-8 -8 16 16");
            svg.setAttribute("aria-hidden", "true");
            const outline = document.createElementNS(SVG, "polygon"), corners = [];
            for (let i = 0; i < 120; i++) {
                const [x, y] = [Math.cos((i * Math.PI) / 60), Math.sin((i * Math.PI) / 60)];
                let far = 2;
                while (far > 0.1 && !inside(far * x, far * y)) far -= 0.02;
                corners.push(`${(radius * far * x).toFixed(2)},${(radius * far * y).toFixed(2)}`);
            }
            outline.setAttribute("points", corners.join(" "));
            outline.setAttribute("fill", colour);
            svg.append(outline);
            item.append(svg, word);
        }
        if (data.directions.length) {
            const arrow = make("span", "", legend), many = data.directions.length > 1;
            arrow.append(this.sign("M-7 0H2M2 0", data.directions[0].colour, "M2-4 8 0 2 4z", many));
            arrow.append(many ? "class directions" : "class direction");
        }
        this.ringSign = make("span", "ring", legend);
        this.ringSign.append(this.sign("M5 0a5 5 0 1 0-10 0a5 5 0 1 0 10 0", RING), "chosen text");
        this.back = make("button", "", legend, { type: "button", hidden: true });
        this.back.append(icon("back"), "All layers");
        this.back.addEventListener("click", () => this.enlarge(-1));
    }

    sign(line, colour, head = "", many = false) {
        const svg = document.createElementNS(SVG, "svg");
        svg.setAttribute("viewBox", "-8 -8 16 16");
        svg.setAttribute("aria-hidden", "true");
        for (const [d, stroke] of [[line, true], [head, false]]) {
            const path = document.createElementNS(SVG, "path");
            path.setAttribute("d", d);
            path.setAttribute(stroke ? "stroke" : "fill", many ? "currentColor" : colour);
            path.setAttribute(stroke ? "fill" : "stroke", "none");
            path.setAttribute("stroke-width", "2");
            svg.append(path);
        }
        return svg;
    }

    makeSide(name, sides) {
        const side = { node: make("div", `side ${name}`, sides), moves: name === "right" };
        side.name = make("div", "name", side.node);
        side.grid = make("div", "grid", side.node);
        side.panels = Array.from({ length: this.data.layers }, (_, layer) => this.makePanel(side, layer));
        return side;
    }

    makePanel(side, layer) {
        const node = make("button", "panel", side.grid, { type: "button", tabIndex: layer || side.moves ? -1 : 0 });
        const title = make("span", "title", node), field = make("span", "field", node);
        const canvas = make("canvas", "", field);
        const empty = make("span", "empty", field, { hidden: true, textContent: "no text" });
        const limits = ["left", "right", "low", "top"].map(place => make("span", `limit ${place}`, field));
        const context = canvas.getContext("2d", { willReadFrequently: true });
        const panel = { side, layer, node, title, field, canvas, context, empty, limits, said: "" };
        node.addEventListener("pointermove", event => this.point(panel, event));
        node.addEventListener("pointerleave", () => this.point(null));
        node.addEventListener("focus", () => {
            for (const one of this.sides.flatMap(each => each.panels)) one.node.tabIndex = one === panel ? 0 : -1;
        });
        node.addEventListener("click", event => {
            const near = event.detail ? this.nearest(panel, event) : -1;
            if (near >= 0) this.choose(near);
            else if (this.large < 0) this.enlarge(layer);
        });
        return panel;
    }

    makeBar() {
        const { names, waiting } = this.data, bar = make("div", "bar", this.root);
        bar.hidden = names.length < 2;
        if (bar.hidden) bar.style.display = "none";
        this.playButton = make("button", "play", bar, { type: "button" });
        this.playButton.addEventListener("click", () => (this.playing ? this.stop(true) : this.play()));
        const track = make("div", "track", bar);
        this.slider = make("input", "", track, { type: "range", min: 0, max: this.last, step: "any" });
        this.slider.setAttribute("aria-label", "Epoch of the panels");
        this.slider.addEventListener("input", () => {
            this.stop(false);
            this.dragging = true;
            this.seek(Number(this.slider.value));
        });
        const release = () => this.dragging && this.settle();
        for (const kind of ["change", "pointerup", "pointercancel", "blur"]) this.slider.addEventListener(kind, release);
        const ticks = make("div", "ticks", track);
        ticks.setAttribute("aria-hidden", "true");
        this.ticks = names.map((name, i) => {
            const tick = make("span", "", ticks, { textContent: name });
            tick.style.left = `${(100 * i) / Math.max(1, this.last)}%`;
            tick.addEventListener("click", () => { this.stop(false); this.go(i); });
            return tick;
        });
        const save = make("button", "save", bar, { type: "button", title: "Save the picture as PNG" });
        save.append(icon("save"), "PNG");
        save.setAttribute("aria-label", "Save the picture as PNG");
        save.addEventListener("click", () => this.save());
        this.showPlaying();
    }

    /* ---- moving */

    seek(at) {
        this.at = Math.min(this.last, Math.max(0, at));
        this.draw();
        if (this.quiet) return;
        window.dispatchEvent(new CustomEvent("layershift:epoch", { detail: { at: this.at, names: this.data.names } }));
    }

    /* Follow another slider of the page, which has told the other pictures. */
    slide(place) {
        if (place < 0 || this.busy) return;
        this.glide(place);
        this.quiet = this.at !== place;
    }

    settle() {
        this.dragging = false;
        this.go(Math.round(this.at));
    }

    go(place) {
        this.glide(place);
        this.send(place);
    }

    send(place) {
        const label = this.data.names[place];
        if (label === this.view.epoch && !this.sent.size) return;
        this.sent.delete(label);
        this.sent.set(label, performance.now());
        this.tell?.("epoch", label);
    }

    glide(place, milliseconds = SETTLE_MS, then = () => {}) {
        cancelAnimationFrame(this.gliding);
        this.quiet = false;
        const from = this.at, start = performance.now();
        if (this.still.matches || from === place) { this.seek(place); then(); return; }
        const step = now => {
            const share = Math.min(1, Math.max(0, now - start) / milliseconds);
            this.seek(share < 1 ? from + (place - from) * share * share * (3 - 2 * share) : place);
            this.paint();
            if (share < 1) this.gliding = requestAnimationFrame(step);
            else then();
        };
        this.gliding = requestAnimationFrame(step);
    }

    play() {
        const { plays } = this.data, end = plays.at(-1);
        if (this.at >= end) this.seek(0);
        this.playing = true;
        this.showPlaying();
        const next = () => {
            const following = plays.find(place => place > this.at + 1e-6);
            if (!this.playing) return;
            if (following === undefined) this.stop(true);
            else this.timer = setTimeout(() => this.glide(following, STEP_MS, next), this.still.matches ? STEP_MS : REST_MS);
        };
        next();
    }

    stop(tell) {
        cancelAnimationFrame(this.gliding);
        this.quiet = false;
        clearTimeout(this.timer);
        const was = this.playing;
        this.playing = false;
        if (was) this.showPlaying();
        if (was && tell) this.go(Math.round(this.at));
    }

    showPlaying() {
        this.playButton.replaceChildren(icon(this.playing ? "stop" : "play"), this.playing ? "Stop" : "Play");
    }

    onKey(event) {
        const steps = { ArrowLeft: -1, ArrowRight: 1 }, rows = { ArrowUp: -1, ArrowDown: 1 };
        const panel = event.target.closest?.(".panel"), onSlider = event.target === this.slider;
        const move = event.key in steps || (onSlider && event.key in rows) || (onSlider && ["Home", "End"].includes(event.key));
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "Escape" && this.large >= 0) this.enlarge(-1);
        else if (move && this.last > 0) {
            const here = Math.round(this.at), step = steps[event.key] ?? -rows[event.key];
            const goal = { Home: 0, End: this.last }[event.key] ?? here + step;
            this.stop(false);
            this.dragging = false;
            this.go(Math.min(this.last, Math.max(0, goal)));
        } else if (panel && event.key in rows) {
            const all = this.sides.flatMap(side => side.panels).filter(one => !one.node.hidden).map(one => one.node);
            all[(all.indexOf(panel) + rows[event.key] + all.length) % all.length].focus();
        } else return;
        event.preventDefault();
    }

    /* ---- pointing and choosing */

    place(panel, event) {
        const box = panel.canvas.getBoundingClientRect();
        return [event.clientX - box.x, event.clientY - box.y, box.width];
    }

    nearest(panel, event) {
        const [x, y, size] = this.place(panel, event), [one, other, share] = this.ends(panel.side.moves);
        if (y < 0 || one < 0 || y > size) return -1;
        const reach = this.reach / FULL, { xy } = this;
        let found = -1, least = NEAR * NEAR;
        for (let i = 0, a = this.from(one, panel.layer), b = this.from(other, panel.layer); i < this.data.labels.length; i++) {
            if (xy[a] === MISSING || xy[b] === MISSING) return -1;
            const [px, py] = this.spot(a, b, share, reach, size / 2);
            const far = (px - x) ** 2 + (py - y) ** 2;
            if (far < least) { least = far; found = i; }
            a += 2; b += 2;
        }
        return found;
    }

    point(panel, event) {
        const near = panel ? this.nearest(panel, event) : -1;
        if (panel) panel.node.classList.toggle("near", near >= 0);
        if (near !== this.hovered) {
            this.hovered = near;
            this.draw();
        }
        this.tip.hidden = near < 0;
        if (near < 0) return;
        const { data } = this, box = this.root.getBoundingClientRect();
        if (this.tip.dataset.of !== String(near)) {
            this.tip.dataset.of = near;
            const word = data.classes[data.labels[near]].word;
            this.tip.replaceChildren(make("b", "", null, { textContent: `${word} · text ${data.index[near]}` }), data.texts[near]);
        }
        const [x, y] = [event.clientX - box.x, event.clientY - box.y], { offsetWidth: wide, offsetHeight: high } = this.tip;
        this.tip.style.left = `${Math.max(0, x + 14 + wide > box.width ? x - wide - 14 : x + 14)}px`;
        this.tip.style.top = `${event.clientY + high + 18 > window.innerHeight ? y - high - 10 : y + 14}px`;
    }

    choose(position) {
        this.chosen = position;
        this.tell?.("review", position);
        this.describe();
        this.draw();
    }

    enlarge(layer) {
        const before = this.large;
        this.large = layer;
        this.point(null);
        this.layout(true);
        if (layer < 0 && before >= 0) this.sides.at(-1).panels[before].node.focus({ preventScroll: true });
        else if (layer >= 0) this.sides.at(-1).panels[layer].node.focus({ preventScroll: true });
    }

    /* ---- words */

    colours() {
        const style = getComputedStyle(this.root), probe = make("canvas").getContext("2d");
        probe.fillStyle = style.getPropertyValue("--page").trim() || "#ffffff";
        this.page = probe.fillStyle;
        probe.fillStyle = style.color;
        this.text = probe.fillStyle;
    }

    write() {
        const { data } = this;
        this.sides.forEach(({ panels }) => panels.forEach(({ limits, layer }) => {
            const [[x, y], half] = [data.centre[layer], data.half[layer]];
            const words = half === null ? [] : [`x ${number(x - half)}`, `x ${number(x + half)}`, `y ${number(y - half)}`, `y ${number(y + half)}`];
            limits.forEach((node, i) => { node.textContent = words[i]?.replace("-", "−") ?? ""; });
        }));
        this.ticks?.forEach((tick, i) => tick.classList.toggle("wait", !data.there.includes(i)));
        this.slider.max = this.last;
    }

    /* Label of the checkpoint at the slider, or of the two that the points are between. */
    get said() {
        const { names } = this.data, low = Math.floor(this.at + 1e-6);
        return this.at - low < 1e-3 ? names[low] : `${names[low]} → ${names[Math.min(this.last, low + 1)]}`;
    }

    describe() {
        const { data, view } = this, here = Math.round(this.at), { names } = data;
        this.ringSign.hidden = !(this.chosen >= 0);
        this.slider.value = this.at;
        this.slider.style.setProperty("--done", `${(100 * this.at) / Math.max(1, this.last)}%`);
        this.slider.setAttribute("aria-valuetext", names[here]);
        this.ticks.forEach((tick, i) => tick.classList.toggle("now", i === here));
        this.root.setAttribute("aria-label", `${data.title}: ${names[this.left]} and ${names[here]}`);
        for (const side of this.sides) {
            const place = side.moves ? here : this.left, words = side.moves ? this.said : names[place];
            const waits = data.there.includes(place) ? "" : "still computing";
            if (side.words === words + waits) continue;
            side.words = words + waits;
            side.name.replaceChildren(words, ...(waits ? [make("small", "", null, { textContent: waits })] : []));
        }
        for (const panel of this.sides.flatMap(side => side.panels)) {
            const place = panel.side.moves ? here : this.left, shares = data.shares[data.there.indexOf(place)]?.[panel.layer];
            panel.node.classList.toggle("framed", panel.layer === view.layer);
            const words = shares ? (shares.includes(null) ? "no text" : shares.map(percent).join(" + ") + " %") : "";
            if (panel.said === place + words) continue;
            panel.said = place + words;
            panel.title.replaceChildren(make("b", "", null, { textContent: panel.layer }), words);
            panel.empty.hidden = words !== "no text";
            panel.node.setAttribute("aria-label", `${panel.layer} ${words}, ${names[place]}: enlarge this layer`);
        }
        if (!this.tell || data.view) {
            const word = this.chosen >= 0 ? data.classes[data.labels[this.chosen]].word : "";
            this.caption.textContent = word && `Text ${data.index[this.chosen]}, ${word}: ${data.texts[this.chosen]}`;
        }
        if (Math.abs(this.at - here) < 1e-3) {
            this.root.dataset.epoch = names[here];
            this.root.dataset.reference = names[this.left];
            if (this.table.open && this.shown !== `${here} ${view.reference}`) this.fillTable();
        } else delete this.root.dataset.epoch;
    }

    fillTable() {
        const { data } = this, here = Math.round(this.at), table = make("table"), head = make("tr", "", make("thead", "", table));
        if (!this.table.open) return;
        this.shown = `${here} ${this.view.reference}`;
        const places = [...new Set([this.left, here])].filter(place => data.there.includes(place));
        make("th", "", head, { textContent: "layer", scope: "col" });
        for (const place of places) {
            for (const what of ["% on x", "% on y", ...data.directions.map(one => one.distance)]) {
                make("th", "", head, { textContent: `${data.names[place]}: ${what}`, scope: "col" });
            }
        }
        const body = make("tbody", "", table);
        for (let layer = 0; layer < data.layers; layer++) {
            const row = make("tr", "", body);
            make("th", "", row, { textContent: layer, scope: "row" });
            for (const place of places) {
                const at = data.there.indexOf(place);
                const cells = [...data.shares[at][layer].map(percent), ...data.apart[at][layer].map(number)];
                for (const words of cells) make("td", "", row, { textContent: words });
            }
        }
        this.table.lastElementChild.replaceChildren(table);
    }

    /* ---- drawing */

    layout(force = false) {
        const wide = this.sides?.[0].node.clientWidth;
        if (!wide || this.view.epoch === undefined) return;
        const ratio = this.ratio ?? window.devicePixelRatio ?? 1, { layers } = this.data, gap = 8;
        if (!force && wide === this.wide && ratio === this.dense) return;
        [this.wide, this.dense] = [wide, ratio];
        let columns = Math.min(layers, Math.max(4, Math.ceil(Math.sqrt(1.6 * layers))));
        while (columns > 4 && (wide + gap) / columns - gap < 92) columns--;
        const room = Math.floor((wide + gap) / columns - gap) - 2;
        const large = Math.max(180, Math.min(wide - 2, Math.round(0.6 * window.innerHeight)));
        this.size = this.large >= 0 ? large : Math.min(room, 180);
        this.root.classList.toggle("large", this.large >= 0);
        this.back.hidden = this.large < 0;
        const device = Math.round(this.size * ratio), radius = this.markers(device / ratio) * ratio;
        this.reach = (this.size / 2) - 1.4 * (radius / ratio) - 3;
        this.stamps = this.data.classes.map(({ symbol }) => stamps(symbol, radius, device));
        this.halo = this.large >= 0 ? stamps("circle", radius + 1.2 * ratio, device) : null;
        for (const { grid, panels } of this.sides) {
            grid.style.gridTemplateColumns = this.large >= 0 ? "auto" : `repeat(${columns}, ${this.size + 2}px)`;
            for (const panel of panels) {
                panel.node.hidden = this.large >= 0 && panel.layer !== this.large;
                panel.field.style.width = panel.field.style.height = `${this.size + 2}px`;
                panel.title.style.width = `${this.size + 2}px`;
                if (panel.canvas.height !== device) panel.canvas.width = panel.canvas.height = device;
                panel.image = panel.context.createImageData(device, device);
                panel.pixels = new Uint32Array(panel.image.data.buffer);
                panel.drawn = "";
            }
        }
        this.thinTicks();
        this.paint();
    }

    /* Radius of a point in CSS pixels: smaller where more reviews share a panel. */
    markers(size) {
        const dense = Math.max(0.5, Math.min(1, (300 / this.data.labels.length) ** 0.2));
        return (this.large >= 0 ? Math.min(5.2, 3 + size / 220) : Math.max(1.4, Math.min(2.4, size / 50))) * dense;
    }

    thinTicks() {
        const wide = this.slider.clientWidth - 18;
        let edge = -Infinity;
        this.ticks.forEach(tick => tick.classList.remove("off"));
        const boxes = this.ticks.map((tick, i) => {
            const own = tick.offsetWidth, middle = (wide * i) / Math.max(1, this.last);
            const start = i === 0 ? -9 : i === this.last ? wide + 9 - own : middle - own / 2;
            return [start, start + own];
        });
        this.ticks.forEach((tick, i) => {
            const fits = i === this.last || (boxes[i][0] > edge + 8 && (i === 0 || boxes[i][1] + 8 < boxes[this.last][0]));
            tick.classList.toggle("off", !fits);
            if (fits) edge = boxes[i][1];
        });
    }

    draw() {
        this.pending ??= requestAnimationFrame(() => this.paint());
    }

    /* The stored checkpoints on both sides of the slider and the share of the way; -1 where none is there. */
    ends(moves) {
        const { there } = this.data, at = moves ? this.at : this.left;
        let low = -1, high = -1;
        there.forEach((place, i) => {
            if (place <= at + 1e-6) low = i;
            if (high < 0 && place >= at - 1e-6) high = i;
        });
        if (low < 0) low = high;
        if (high < 0) high = low;
        const gap = low < 0 ? 0 : there[high] - there[low];
        return [low, high, gap ? (at - there[low]) / gap : 0];
    }

    from(stored, layer) { return stored * this.block + layer * this.data.labels.length * 2; }

    paint() {
        cancelAnimationFrame(this.pending);
        this.pending = null;
        if (!this.stamps) return;
        const start = performance.now();
        for (const side of this.sides) {
            const ends = this.ends(side.moves), state = [...ends, this.hovered, this.chosen, this.page, this.data.shape].join();
            for (const panel of side.panels) {
                if (panel.node.hidden || panel.drawn === state || ends[0] < 0) continue;
                panel.drawn = state;
                this.paintPanel(panel, ...ends);
            }
        }
        this.describe();
        this.spent = performance.now() - start;
        this.root.dataset.painted = "yes";
        const { host } = this.root.getRootNode();  // a page sees no further into a component
        if (host) host.dataset.painted = "yes";
    }

    spot(p, q, share, reach, middle) {
        const { xy } = this;
        return [middle + (xy[p] + (xy[q] - xy[p]) * share) * reach, middle - (xy[p + 1] + (xy[q + 1] - xy[p + 1]) * share) * reach];
    }

    paintPanel(panel, one, other, share) {
        const { xy, order, data, stamps: marks, halo } = this, { pixels, context, image, layer } = panel;
        const ratio = this.dense, device = image.width, reach = (this.reach * ratio) / FULL, middle = device / 2;
        const colours = this.packed ??= data.classes.map(({ colour }) => packed(colour)), page = packed(this.page);
        const a = this.from(one, layer), b = this.from(other, layer);
        pixels.fill(0);
        if (xy[a] !== MISSING && xy[b] !== MISSING) {
            for (let k = 0; k < order.length; k++) {
                const i = order[k], p = a + 2 * i, q = b + 2 * i;
                const x = middle + (xy[p] + (xy[q] - xy[p]) * share) * reach;
                const y = middle - (xy[p + 1] + (xy[q + 1] - xy[p + 1]) * share) * reach;
                const column = Math.floor(x), row = Math.floor(y), at = row * device + column;
                const part = (((y - row) * 4) << 2) | ((x - column) * 4), c = data.labels[i];
                if (halo) press(pixels, at, halo[part], page);
                press(pixels, at, marks[c][part], colours[c]);
            }
            for (const i of [this.chosen, this.hovered]) {
                if (!(i >= 0)) continue;
                const [x, y] = this.spot(a + 2 * i, b + 2 * i, share, reach, middle), at = Math.floor(y) * device + Math.floor(x);
                press(pixels, at, marks[data.labels[i]][5], colours[data.labels[i]]);
            }
        }
        context.putImageData(image, 0, 0);
        if (xy[a] === MISSING || xy[b] === MISSING) return;
        this.paintArrows(context, one, other, share, layer, reach, middle);
        for (const [review, colour, width] of [[this.hovered, this.text, 1.6], [this.chosen, RING, 2.4]]) {
            if (!(review >= 0)) continue;
            context.beginPath();
            const [x, y] = this.spot(a + 2 * review, b + 2 * review, share, reach, middle);
            context.arc(x, y, (this.markers(this.size) + 3.2) * ratio, 0, 2 * Math.PI);
            context.strokeStyle = this.page;
            context.lineWidth = (width + 2) * ratio;
            context.stroke();
            context.strokeStyle = colour;
            context.lineWidth = width * ratio;
            context.stroke();
        }
    }

    paintArrows(context, one, other, share, layer, reach, middle) {
        const { arrows, data, dense: ratio } = this, many = data.directions.length, scale = this.large >= 0 ? 1.5 : 1;
        for (let d = 0; d < many; d++) {
            const a = 4 * ((one * data.layers + layer) * many + d), b = 4 * ((other * data.layers + layer) * many + d);
            if (arrows[a] === MISSING || arrows[b] === MISSING) continue;
            const [x0, y0, x1, y1] = [0, 1, 2, 3].map(
                i => middle + (i % 2 ? -1 : 1) * (arrows[a + i] + (arrows[b + i] - arrows[a + i]) * share) * reach,
            );
            const long = Math.hypot(x1 - x0, y1 - y0), head = Math.min(8 * scale * ratio, 0.7 * long);
            if (long < 4 * ratio) continue; // smaller than a point: it would only punch a hole
            const [u, v] = [(x1 - x0) / long, (y1 - y0) / long], [nx, ny] = [x1 - u * head, y1 - v * head];
            for (const [colour, more] of [[this.page, 2], [data.directions[d].colour, 0]]) {
                context.strokeStyle = context.fillStyle = colour;
                context.lineWidth = (2 * scale + more) * ratio;
                context.lineJoin = "round";
                context.beginPath();
                context.moveTo(x0, y0);
                context.lineTo(nx, ny);
                context.stroke();
                context.beginPath();
                context.moveTo(x1, y1);
                context.lineTo(nx - v * head * 0.5, ny + u * head * 0.5);
                context.lineTo(nx + v * head * 0.5, ny - u * head * 0.5);
                context.closePath();
                if (more) { context.lineWidth = more * ratio; context.stroke(); } else context.fill();
            }
        }
    }

    /* ---- saving */

    save() {
        const ratio = Math.max(2, window.devicePixelRatio || 1), margin = 16;
        this.ratio = ratio;
        this.layout(true);
        const box = this.root.getBoundingClientRect(), bottom = this.slider.closest(".bar").getBoundingClientRect();
        const height = Math.max(...this.sides.map(({ node }) => node.getBoundingClientRect().bottom)) - box.y;
        const head = this.view.title ? 28 : 0, size = [box.width + 2 * margin, height + head + 2 * margin];
        const sheet = make("canvas", "", null, { width: size[0] * ratio, height: size[1] * ratio });
        const pen = sheet.getContext("2d");
        pen.scale(ratio, ratio);
        pen.fillStyle = this.page;
        pen.fillRect(0, 0, sheet.width, sheet.height);
        pen.translate(margin - box.x, margin + head - box.y);
        pen.textBaseline = "middle";
        const write = (node, words, font) => {
            const at = node.getBoundingClientRect();
            pen.fillStyle = this.text;
            pen.font = `${font} ${getComputedStyle(this.root).fontFamily}`;
            pen.fillText(words, at.x, at.y + at.height / 2);
        };
        if (head) write({ getBoundingClientRect: () => ({ x: box.x, y: box.y - head, height: 20 }) }, this.view.title, "600 15px");
        for (const item of this.root.querySelectorAll(".legend > span:not([hidden])")) this.saveSign(pen, item, write);
        for (const { name, panels } of this.sides) {
            write(name, name.firstChild.textContent, "600 14px");
            for (const { node, title, field, canvas } of panels) {
                if (node.hidden) continue;
                write(title, title.firstChild.textContent, "600 12px");
                const words = document.createRange();
                words.selectNode(title.lastChild);
                write(words, title.lastChild.textContent, "11px");
                const at = field.getBoundingClientRect();
                pen.strokeStyle = getComputedStyle(field).borderTopColor;
                pen.strokeRect(at.x + 0.5, at.y + 0.5, at.width - 1, at.height - 1);
                pen.drawImage(canvas, at.x + 1, at.y + 1, at.width - 2, at.height - 2);
            }
        }
        this.ratio = undefined;
        this.layout(true);
        sheet.toBlob(blob => {
            const link = make("a", "", null, { href: URL.createObjectURL(blob), download: `${this.view.file ?? "layershift"}.png` });
            link.click();
            setTimeout(() => URL.revokeObjectURL(link.href), 10000);
        });
    }

    saveSign(pen, item, write) {
        const svg = item.querySelector("svg"), at = svg.getBoundingClientRect(), words = item.lastChild;
        pen.save();
        pen.translate(at.x + at.width / 2, at.y + at.height / 2);
        pen.scale(at.width / svg.viewBox.baseVal.width, at.height / svg.viewBox.baseVal.height);
        for (const part of svg.children) {
            const d = part.getAttribute("d") ?? `M${part.getAttribute("points").replaceAll(" ", "L")}Z`;
            const style = getComputedStyle(part), path = new Path2D(d);
            if (style.fill !== "none") { pen.fillStyle = style.fill; pen.fill(path); }
            if (style.stroke !== "none") { pen.strokeStyle = style.stroke; pen.lineWidth = 2; pen.stroke(path); }
        }
        pen.restore();
        const range = document.createRange();
        range.selectNode(words);
        write(range, words.textContent, "13px");
    }
}

/* The classes draw their points by turns, one each or as their sizes have it, so that none covers another. */
function interleaved(labels, classes) {
    const size = new Array(classes).fill(0), drawn = new Array(classes).fill(0);
    for (const label of labels) size[label]++;
    const turn = Float64Array.from(labels, label => (++drawn[label] - 0.5) / size[label]);
    return Int32Array.from(labels, (_, i) => i).sort((i, j) => turn[i] - turn[j]);
}
