// The profile page's charts: roofline, flame graph, timeline, memory.

// Powers of ten, and what stands between them where there are few.
function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); ++power)
    for (const factor of Math.log10(high / low) < 2 ? [1, 2, 5] : [1])
      if (factor * 10 ** power >= low * 0.999 && factor * 10 ** power <= high * 1.001) ticks.push(factor * 10 ** power);
  return ticks;
}
// "0.05", "1", "20", "5 k", "100 G".
function tickText(value) {
  const thousands = value >= 1000 ? Math.min(4, Math.floor(Math.log10(value * 1.001) / 3)) : 0;
  return `${Number((value / 1000 ** thousands).toPrecision(1))}${['', ' k', ' M', ' G', ' T'][thousands]}`;
}
function linearTicks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high * (1 + 1e-9); ++k) ticks.push(k * step);
  return ticks;
}
const overlaps = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
const measure = document.createElement('canvas').getContext('2d');
function textWidth(text, size = 12) {
  measure.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  return measure.measureText(text).width;
}
// Not within the observer: what is drawn may change the sizes again.
const onResize = (box, act) => new ResizeObserver(() => requestAnimationFrame(act)).observe(box);
// Charts are drawn in pixels of the screen, so that their text has one size on every one.
function redrawn(id, draw) {
  const box = find(id);
  if (!box) return;
  let last = 0;
  onResize(box, () => {
    const width = Math.floor(box.clientWidth);
    if (width > 0 && width !== last) draw(box, last = width);
  });
}

// ---- roofline
// Kernels without FLOPs have no place on a logarithmic axis: they stand in a strip at its left, as far below
// the roof as their bytes a second are below the peak.
function drawRoofline(box, width) {
  const rows = data.rows.kernel.filter((row) => row.time > 0 && row.bytes > 0 && (row.gflops > 0 || row.gbs > 0));
  const peaks = data.peaks;
  const idle = rows.filter((row) => !(row.flops > 0)), busy = rows.filter((row) => row.flops > 0);
  const height = Math.max(320, Math.min(520, width * 0.55));
  const left = 58, right = width - 14, top = 16, bottom = height - 42;
  const strip = idle.length ? (width < 600 ? 44 : 64) : 0;
  const begin = left + strip;
  let xs = busy.map((row) => row.intensity);
  if (peaks) xs.push(peaks.flops / peaks.bytes / 4, peaks.flops / peaks.bytes * 4);
  if (!xs.length) xs = [0.1, 10];
  const x0 = Math.min(...xs) / 1.6, x1 = Math.max(...xs) * 1.6;
  const heightOf = (row) => (row.flops > 0 ? row.gflops : row.gbs * x0);
  const ys = rows.map(heightOf);
  if (peaks) ys.push(peaks.flops / 1e9, peaks.bytes / 1e9 * x0);
  if (!ys.length) ys.push(1);
  const y0 = Math.min(...ys) / 2, y1 = Math.max(...ys) * 2;
  const sx = (x) => begin + Math.log(x / x0) / Math.log(x1 / x0) * (right - begin);
  const sy = (y) => bottom - Math.log(y / y0) / Math.log(y1 / y0) * (bottom - top);
  const svg = el('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': 'roofline' });

  let lastTick = Infinity;
  for (const y of logTicks(y0, y1)) {
    if (lastTick - sy(y) < 18) continue;
    lastTick = sy(y);
    svg.append(el('path', { class: 'grid', d: `M${left} ${sy(y)}H${right}` }),
      el('text', { class: 'tick', x: left - 8, y: sy(y) + 4, 'text-anchor': 'end' }, tickText(1e9 * y)));
  }
  lastTick = -Infinity;
  for (const x of logTicks(x0, x1)) {
    const text = tickText(x);
    if (sx(x) - lastTick < textWidth(text, 11) + 14 || sx(x) + textWidth(text, 11) / 2 > right) continue;
    lastTick = sx(x);
    svg.append(el('path', { class: 'grid', d: `M${sx(x)} ${top}V${bottom}` }),
      el('text', { class: 'tick', x: sx(x), y: bottom + 16, 'text-anchor': 'middle' }, text));
  }
  svg.append(el('path', { class: 'axis', d: `M${left} ${bottom}H${right}` }),
    el('text', { class: 'tick', x: right, y: height - 6, 'text-anchor': 'end' }, 'FLOP a byte that must be touched'),
    el('text', { class: 'tick', x: left, y: top - 4 }, 'FLOP/s'));
  if (strip)
    svg.append(el('rect', { class: 'strip', x: left, y: top, width: strip, height: bottom - top }),
      el('text', { class: 'tick', x: left + strip / 2, y: bottom + 16, 'text-anchor': 'middle' }, 'none'));

  // Where text may not stand: on the roof, on points, on other text.
  const taken = [];
  if (peaks) {
    const ridge = peaks.flops / peaks.bytes, roof = (x) => Math.min(peaks.flops, x * peaks.bytes) / 1e9;
    svg.append(el('path', { class: 'roof',
      d: `M${left} ${sy(roof(x0))}L${begin} ${sy(roof(x0))}L${sx(ridge)} ${sy(roof(ridge))}L${right} ${sy(roof(x1))}` }));
    const slopeLength = Math.hypot(sx(ridge) - begin, sy(roof(ridge)) - sy(roof(x0)));
    const slope = Math.atan2(sy(roof(ridge)) - sy(roof(x0)), sx(ridge) - begin);
    const memory = `${format.count(peaks.bytes, 'B/s')} of memory`, compute = `${format.count(peaks.flops, 'FLOP/s')} in fp32`;
    const flat = right - sx(ridge) > textWidth(compute) + 6;
    svg.append(el('text', { class: 'name', x: right - 4, y: sy(peaks.flops / 1e9) - 8, 'text-anchor': 'end' }, compute));
    taken.push({ x: right - 4 - textWidth(compute), y: sy(peaks.flops / 1e9) - 22, w: textWidth(compute), h: 18 });
    if (slopeLength > textWidth(memory) + 24) {
      // In the middle of the slope, or before the other label where that begins on it.
      const along = Math.min(slopeLength / 2, flat ? Infinity : slopeLength - textWidth(memory) / 2 - 90);
      const x = begin + along * Math.cos(slope) + 10 * Math.sin(slope);
      const y = sy(roof(x0)) + along * Math.sin(slope) - 10 * Math.cos(slope);
      svg.append(el('text', { class: 'name', 'text-anchor': 'middle',
        transform: `translate(${x} ${y}) rotate(${slope * 180 / Math.PI})` }, memory));
      for (let at = -textWidth(memory) / 2; at < textWidth(memory) / 2; at += 12)
        taken.push({ x: x + at * Math.cos(slope) - 8, y: y + at * Math.sin(slope) - 14, w: 18, h: 20 });
    }
    for (let i = 0; i <= 60; ++i) {
      const x = x0 * (x1 / x0) ** (i / 60);
      taken.push({ x: sx(x) - 3, y: sy(roof(x)) - 3, w: 6, h: 6 });
    }
  }

  const points = rows.map((row) => ({
    row,
    x: row.flops > 0 ? sx(row.intensity) : left + strip / 2,
    y: sy(heightOf(row)),
    r: 4 + 20 * Math.sqrt(Math.min(1, row.share || 0)),
  }));
  points.sort((a, b) => b.r - a.r);
  for (const { x, y, r } of points) taken.push({ x: x - r, y: y - r, w: 2 * r, h: 2 * r });
  for (const { row, x, y, r } of points)
    svg.append(explain(el('circle', { class: `point ${phaseClass(row.phase)}`, cx: x, cy: y, r }),
      () => [row.kernel, [['ops', row.op], ['variant', row.variant], ['calls', row.calls.length], ...rates(row),
        ['intensity', row.flops > 0 ? `${format.number(row.intensity)} FLOP a byte` : 'no FLOPs']]],
      data.calls[row.calls[0]].kernel));
  let labels = 0;
  for (const { row, x, y, r } of points) {
    if (labels >= (width < 600 ? 4 : 9) || !(row.share > 0.005)) break;
    const w = textWidth(row.kernel) + 4, h = 16;
    const places = [{ x: x + r + 4, y: y - 8 }, { x: x - r - 4 - w, y: y - 8 }, { x: x - w / 2, y: y - r - 18 },
      { x: x - w / 2, y: y + r + 3 }, { x: x + r, y: y - r - 12 }, { x: x + r, y: y + r - 4 },
      { x: x - r - w, y: y - r - 12 }, { x: x - r - w, y: y + r - 4 }];
    const free = places.map((at) => ({ ...at, w, h })).find((at) => at.x >= left + 2 && at.x + w <= right &&
      at.y >= top && at.y + h <= bottom && !taken.some((other) => overlaps(at, other)));
    if (!free) continue;
    taken.push(free);
    ++labels;
    svg.append(el('text', { class: 'name', x: free.x + 2, y: free.y + 12 }, row.kernel));
  }
  box.replaceChildren(svg);
}

// ---- flame graph: layer by layer, then op, then kernel
function flameTree() {
  const node = (name, kind) => ({ name, kind, time: 0, calls: [], phases: {}, inner: new Map() });
  const root = node('kernels of a step', 'root');
  data.calls.forEach((call, index) => {
    if (!(call.time > 0)) return;
    const path = [...layerName(call.layer).split(call.layer ? '.' : '\n').map((name) => [name, 'layer']),
      [call.op, 'op', call.phase], [data.kernels[call.kernel].name, 'kernel', call.phase]];
    let at = root;
    const add = (one) => {
      one.time += call.time;
      one.calls.push(index);
      one.phases[call.phase] = (one.phases[call.phase] || 0) + call.time;
    };
    add(root);
    for (const [name, kind, phase] of path) {
      const key = `${kind} ${phase || ''} ${name}`;
      if (!at.inner.has(key)) at.inner.set(key, Object.assign(node(name, kind), { phase, parent: at }));
      at = at.inner.get(key);
      add(at);
    }
  });
  return root;
}
function flamePath(node) {
  const names = [];
  for (let at = node; at && at.kind !== 'root'; at = at.parent) if (at.kind === 'layer') names.unshift(at.name);
  return names.join('.');
}
function drawFlame() {
  const box = find('flame'), root = flameTree();
  if (!box) return;
  const frames = [];
  let deepest = 0;
  // Largest first; `from` is where the frame begins, as a share of the root.
  const lay = (node, from, depth) => {
    frames.push(Object.assign(node, { from, depth }));
    deepest = Math.max(deepest, depth);
    for (const inner of [...node.inner.values()].sort((a, b) => b.time - a.time)) {
      inner.parent = node;
      lay(inner, from, depth + 1);
      from += inner.time / root.time;
    }
  };
  if (root.time > 0) lay(root, 0, 0);
  const kRow = 24;
  box.style.height = `${(deepest + 1) * kRow}px`;
  let zoomed = root;
  const width = (node) => node.time / root.time;
  const draw = () => {
    const scale = 1 / width(zoomed), wide = box.clientWidth;
    for (const node of frames) {
      const above = node.depth < zoomed.depth && node.from <= zoomed.from + 1e-12 &&
        node.from + width(node) >= zoomed.from + width(zoomed) - 1e-12;
      const from = above ? 0 : (node.from - zoomed.from) * scale, share = above ? 1 : width(node) * scale;
      const inside = above || (from > -1e-9 && from + share < 1 + 1e-9 && node.depth >= zoomed.depth);
      node.frame.hidden = !inside;
      if (!inside) continue;
      node.frame.style.left = `${100 * from}%`;
      node.frame.style.width = `${100 * share}%`;
      node.frame.classList.toggle('above', above);
      node.frame.textContent = share * wide > 34 ? node.name : '';
    }
    find('flame-reset').hidden = zoomed === root;
  };
  for (const node of frames) {
    const frame = el('div', { class: `frame ${node.kind} ${node.phase ? phaseClass(node.phase) : ''}`,
      style: `top:${node.depth * kRow}px` });
    if (node.kind === 'layer' || node.kind === 'root') {
      // Its colours tell how much of it is which phase.
      let at = 0;
      const stops = ['forward', 'backward', 'optimizer'].filter((phase) => node.phases[phase]).map((phase) => {
        const begin = at;
        at += 100 * node.phases[phase] / node.time;
        return `var(--${phase}-soft) ${begin.toFixed(2)}% ${at.toFixed(2)}%`;
      });
      frame.style.background = `linear-gradient(90deg,${stops.join(',')})`;
    }
    const first = data.calls[node.calls[0]];
    explain(frame, () => [node.name, [
      ['layer', node.kind === 'root' ? '' : flamePath(node)], ['phase', node.phase || ''],
      ['time', format.time(node.time)], ['of the kernels', format.share(node.time / root.time)],
      ['calls', node.calls.length],
      ...(node.phase ? [] : Object.entries(node.phases).map(([phase, time]) => [phase, format.share(time / node.time)])),
    ]], node.kind === 'kernel' ? first.kernel : undefined);
    frame.addEventListener('click', () => {
      zoomed = zoomed === node && node.parent ? node.parent : node;
      draw();
    });
    node.frame = frame;
  }
  box.replaceChildren(...frames.map((node) => node.frame));
  find('flame-reset').addEventListener('click', () => { zoomed = root; draw(); });
  onResize(box, draw);
}

// ---- timeline of one step
function drawTimeline() {
  const box = find('timeline'), run = data.run;
  if (!box || !run) return;
  const calls = run.begin.map((begin, index) => ({ index, begin, end: run.end[index] }))
    .filter(({ begin, end }) => known(begin) && known(end));
  const total = Math.max(run.copiedOut || 0, ...calls.map(({ end }) => end), 1);
  const at = (ns) => `${100 * ns / total}%`;
  const kTop = 22, kRow = 26;
  const inner = el('div', { class: 'inner' });
  const blocks = [];
  const block = (name, kind, begin, end, row, details, kernel) => {
    const one = explain(el('div', { class: `block ${kind}`,
      style: `left:${at(begin)};width:${at(Math.max(0, end - begin))};top:${kTop + row * kRow}px` }), details, kernel);
    blocks.push([one, name, (end - begin) / total]);
    inner.append(one);
  };
  const lanes = [];
  const busy = [];
  for (const [name, begin, end] of [['copy in', 0, run.copiedIn], ['copy out', run.computed, run.copiedOut]])
    if (known(begin) && known(end) && end > begin) {
      busy.push([begin, end]);
      block(name, 'copy', begin, end, 0, () => [name, [['time', format.time(end - begin)]]]);
    }
  for (const { index, begin, end } of [...calls].sort((a, b) => a.begin - b.begin)) {
    let lane = lanes.findIndex((reached) => reached <= begin + 1e-6);
    if (lane < 0) lane = lanes.length;
    lanes[lane] = end;
    const call = data.calls[index];
    busy.push([begin, end, call.barrier]);
    block(call.op, phaseClass(call.phase), begin, end, 1 + lane, () => {
      const [title, rows] = callDetails(index);
      return [title, [['in this step', `${format.time(end - begin)}, from ${format.time(begin)} on`], ...rows]];
    }, call.kernel);
    if (call.barrier !== 'none')
      inner.append(explain(el('div', { class: `barrier ${call.barrier}`,
        style: `left:${at(begin)};top:${kTop + kRow - 7}px;height:${7 + 4}px` }),
      () => [`barrier before ${index + 1}. ${call.op}`, [['why', kBarriers[call.barrier]]]]));
  }
  const bottom = kTop + (1 + Math.max(1, lanes.length)) * kRow;
  if (!run.byHost) {
    let reached = 0, gaps = 0, waits = 0;
    for (const [begin, end, barrier] of [...busy.sort((a, b) => a[0] - b[0]), [run.copiedOut || total, total]]) {
      if (begin > reached) {
        const length = begin - reached, waiting = barrier && barrier !== 'none';
        gaps += length;
        if (waiting) waits += length;
        inner.append(explain(el('div', { class: `gap ${waiting ? 'waiting' : ''}`,
          style: `left:${at(reached)};width:${at(length)};top:${bottom}px` }),
        () => [waiting ? 'wait at a barrier' : 'gap', [['nothing runs for', format.time(length)]]]));
      }
      reached = Math.max(reached, end);
    }
    find('gaps').textContent = `gaps ${format.time(gaps)}, ${format.time(waits)} of them at barriers`;
  }
  inner.style.height = `${bottom + 14}px`;
  const axis = el('div', { class: 'times' });
  inner.append(axis);
  box.replaceChildren(inner);

  let zoom = 1;
  const most = Math.max(8, Math.min(4000, total / 2000));
  const draw = () => {
    const wide = box.clientWidth * zoom;
    inner.style.width = `${100 * zoom}%`;
    for (const [node, name, share] of blocks) node.textContent = share * wide > 30 ? name : '';
    const ticks = linearTicks(0, total, Math.max(2, wide / 110));
    const step = ticks.length > 1 ? ticks[1] : total;
    const [scale, unit] = step >= 1e9 ? [1e9, 's'] : step >= 1e6 ? [1e6, 'ms'] : step >= 1e3 ? [1e3, '\u00b5s'] : [1, 'ns'];
    const places = Math.max(0, -Math.floor(Math.log10(step / scale) + 1e-9));
    axis.replaceChildren(...ticks.filter((ns) => ns < total * 0.999 - 60 / wide * total || ns === 0).map((ns) =>
      el('span', { style: `left:${at(ns)}` }, ns === 0 ? '0' : `${(ns / scale).toFixed(places)} ${unit}`)));
  };
  // `keep`: the place on the screen whose time stays where it is.
  const zoomTo = (next, keep = box.clientWidth / 2) => {
    next = Math.max(1, Math.min(most, next));
    const time = (box.scrollLeft + keep) / (box.clientWidth * zoom);
    zoom = next;
    draw();
    box.scrollLeft = time * box.clientWidth * zoom - keep;
  };
  find('zoom-in').addEventListener('click', () => zoomTo(zoom * 2));
  find('zoom-out').addEventListener('click', () => zoomTo(zoom / 2));
  find('zoom-fit').addEventListener('click', () => zoomTo(1));
  box.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomTo(zoom * (event.deltaY < 0 ? 1.25 : 0.8), event.clientX - box.getBoundingClientRect().left);
  }, { passive: false });
  onResize(box, draw);
}

// ---- memory over the calls
function drawMemory(box, width) {
  const { live, arena, peak } = data.memory;
  const height = 270, left = 70, right = width - 14, top = 30, bottom = height - 40;
  const high = Math.max(arena, ...live, 1) * 1.05;
  const sx = (index) => left + index / Math.max(1, live.length) * (right - left);
  const sy = (bytes) => bottom - bytes / high * (bottom - top);
  const svg = el('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': 'memory over the calls' });
  const unit = 2 ** (10 * Math.floor(Math.log2(high) / 10));
  for (const y of linearTicks(0, high / unit, 4))
    svg.append(el('path', { class: 'grid', d: `M${left} ${sy(y * unit)}H${right}` }),
      el('text', { class: 'tick', x: left - 8, y: sy(y * unit) + 4, 'text-anchor': 'end' }, format.bytes(y * unit)));
  for (const x of linearTicks(0, live.length, Math.max(2, width / 120)))
    if (Number.isInteger(x)) svg.append(el('text', { class: 'tick', x: sx(x), y: bottom + 16, 'text-anchor': 'middle' }, x));
  svg.append(el('path', { class: 'axis', d: `M${left} ${bottom}H${right}` }),
    el('text', { class: 'tick', x: right, y: height - 6, 'text-anchor': 'end' }, 'calls, in their order'));
  let line = '';
  live.forEach((bytes, index) => {
    line += `${index ? 'L' : 'M'}${sx(index).toFixed(1)} ${sy(bytes).toFixed(1)}H${sx(index + 1).toFixed(1)}`;
  });
  // Below the line the phases' colours, so that one sees where forward ends.
  let from = 0;
  data.calls.forEach((call, index) => {
    if (index + 1 < live.length && data.calls[index + 1].phase === call.phase) return;
    let area = `M${sx(from)} ${bottom}`;
    for (let i = from; i <= index; ++i) area += `V${sy(live[i]).toFixed(1)}H${sx(i + 1).toFixed(1)}`;
    svg.append(el('path', { class: `area ${phaseClass(call.phase)}`, d: `${area}V${bottom}Z` }));
    from = index + 1;
  });
  svg.append(el('path', { class: 'line', d: line }));
  const planned = `planned ${format.bytes(arena)}`;
  svg.append(el('path', { class: 'planned', d: `M${left} ${sy(arena)}H${right}` }),
    el('text', { class: 'name', x: right - 4, y: sy(arena) - 8, 'text-anchor': 'end' }, planned));
  if (live.length) {
    const x = sx(peak + 0.5), y = sy(live[peak]), text = `at most ${format.bytes(live[peak])} at call ${peak + 1}`;
    // Above both lines, and clear of the plan's label.
    const end = right - 20 - (y - sy(arena) < 40 ? textWidth(planned) : 0);
    const begin = Math.max(left + 4, Math.min(x - 4, end - textWidth(text)));
    svg.append(el('circle', { class: 'peak', cx: x, cy: y, r: 4 }),
      el('text', { class: 'name halo', x: begin, y: y - sy(arena) < 24 ? sy(arena) - 8 : y - 10 }, text));
  }
  const cursor = el('path', { class: 'cursor' });
  const cover = el('rect', { class: 'cover', x: left, y: top, width: Math.max(0, right - left), height: bottom - top });
  let index = 0;
  cover.addEventListener('pointermove', (event) => {
    if (held) return;
    const x = event.clientX - svg.getBoundingClientRect().left;
    index = Math.max(0, Math.min(live.length - 1, Math.floor((x - left) / (right - left) * live.length)));
    cursor.setAttribute('d', `M${sx(index + 0.5)} ${top}V${bottom}`);
  }, true);
  svg.append(cursor, explain(cover, () => {
    const call = data.calls[index];
    return [`${index + 1}. ${call.op}`, [['alive', format.bytes(live[index])], ['phase', call.phase], ['layer', call.layer],
      ['largest', data.memory.values.filter((value) => value.first <= index && index <= value.last)
        .sort((a, b) => b.bytes - a.bytes).slice(0, 4).map((value) => `${value.label} ${format.bytes(value.bytes)}`).join(', ')]]];
  }));
  box.replaceChildren(svg);
}

drawOverview();
if (data.timed) {
  redrawn('roofline', drawRoofline);
  drawFlame();
}
drawTimeline();
if (data.memory.live.length) redrawn('memory', drawMemory);
setUpTable();
drawKernels();
