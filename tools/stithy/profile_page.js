// The profile page: formats, the details of what is pointed at, the tables, the kernels' sources.
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const find = (id) => document.getElementById(id);

// Text is only ever set as text: names come from drivers and programs.
function el(tag, attributes = {}, ...children) {
  const svg = ['svg', 'g', 'path', 'circle', 'line', 'rect', 'text'].includes(tag);
  const node = svg ? document.createElementNS(find('svg').namespaceURI, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name === 'style') node.style.cssText = value;
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? '' : value);
  node.append(...children.filter((child) => child !== null && child !== ''));
  return node;
}

// Three significant digits; a dash for what was not measured.
const kNone = '\u2013';
const known = (value) => typeof value === 'number' && Number.isFinite(value);
function digits(value) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(size >= 1 ? 2 : 3);
}
function scaled(value, steps, unit) {
  if (!known(value)) return kNone;
  const [scale, prefix] = steps.find(([scale]) => Math.abs(value) >= scale * 0.9995) || steps[steps.length - 1];
  return `${digits(value / scale)} ${prefix}${unit}`;
}
const format = {
  time: (ns) => scaled(ns, [[1e9, ''], [1e6, 'm'], [1e3, '\u00b5'], [1, 'n']], 's'),
  count: (n, unit) => scaled(n, [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']], unit).trim(),
  bytes: (n) => scaled(n, [[2 ** 30, 'Gi'], [2 ** 20, 'Mi'], [2 ** 10, 'Ki'], [1, '']], 'B'),
  share: (x) => (known(x) ? `${(100 * x).toFixed(x >= 0.0995 ? 1 : 2)} %` : kNone),
  number: (x) => (known(x) ? digits(x) : kNone),
};
const phaseClass = (phase) => (['forward', 'backward', 'optimizer'].includes(phase) ? phase : 'mixed');
const layerName = (layer) => layer || 'outside of layers';

// ---- what is pointed at, or tapped
const tip = find('tip');
let held = null;  // what was tapped: it keeps its details until something else is
function fill(target) {
  const [title, rows, note] = target.details();
  tip.replaceChildren(
    el('strong', {}, title),
    el('dl', {}, ...rows.filter(([, value]) => value !== '' && value !== kNone && value !== null)
      .flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value))])),
    note ? el('p', {}, note) : '',
    target.kernel === undefined ? '' : el('a', { href: `#kernel-${target.kernel}` }, 'source and statistics'));
}
function place(x, y) {
  const box = tip.getBoundingClientRect(), width = document.documentElement.clientWidth;
  const left = Math.max(8, Math.min(x + 14, width - box.width - 8));
  const below = y + 16 + box.height < window.innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? y + 16 : Math.max(8, y - box.height - 12)}px`;
}
function show(target, event) {
  fill(target);
  tip.hidden = false;
  const box = target.getBoundingClientRect();
  place(event.clientX || box.left, event.clientY || box.bottom);
}
function letGo() {
  if (held) held.classList.remove('held');
  held = null;
  tip.hidden = true;
}
function explain(node, details, kernel) {
  node.details = details;
  if (kernel !== undefined) node.kernel = kernel;
  node.addEventListener('pointermove', (event) => {
    if (!held && event.pointerType === 'mouse') show(node, event);
  });
  node.addEventListener('pointerleave', () => { if (!held) tip.hidden = true; });
  node.addEventListener('click', (event) => {
    const again = held === node;
    letGo();
    if (!again) {
      held = node;
      node.classList.add('held');
      show(node, event);
    }
    event.stopPropagation();
  });
  return node;
}
tip.addEventListener('click', (event) => { if (event.target.tagName !== 'A') event.stopPropagation(); });
document.addEventListener('click', letGo);
document.addEventListener('keydown', (event) => { if (event.key === 'Escape') letGo(); });

function rates(entry) {
  return [
    ['time', known(entry.p95) ? `${format.time(entry.time)}, p95 ${format.time(entry.p95)}` : format.time(entry.time)],
    ['alone', data.byHost ? '' : format.time(entry.isolated)],
    ['of the step', format.share(entry.share)],
    ['work', entry.flops > 0 ? format.count(entry.flops, 'FLOP') : ''],
    ['touches at least', entry.bytes > 0 ? format.bytes(entry.bytes) : ''],
    ['reaches', [entry.gflops > 0 ? format.count(1e9 * entry.gflops, 'FLOP/s') : '',
      entry.gbs > 0 ? format.count(1e9 * entry.gbs, 'B/s') : ''].filter(Boolean).join(', ')],
    ['of its roof', known(entry.roof) ? `${format.share(entry.roof)}, ${entry.bound}` : ''],
  ];
}
const kBarriers = {
  data: 'waits for what calls before it write',
  reuse: 'only because memory is used again',
  needless: 'orders nothing: nothing that both sides touch',
};
function callDetails(index) {
  const call = data.calls[index];
  return [`${index + 1}. ${call.op}`, [
    ['kernel', data.kernels[call.kernel].name], ['phase', call.phase], ['layer', call.layer],
    ['shapes', call.shapes], ['dtype', call.dtype], ['variant', call.variant],
    ['workgroups', call.groups.join(' \u00d7 ')], ...rates(call),
    ['barrier before', kBarriers[call.barrier] || ''],
  ]];
}

// ---- the step as a whole
const stepOf = () => data.step.device || data.step.host;
function say(id, ...lines) { find(id).textContent = lines.filter(Boolean).join(' ').replace(/ (?=[;.])/g, ''); }
function countersText() {
  if (!data.counters) return 'none: this driver has no VK_KHR_performance_query';
  const { names, offered, passes, counted, refused } = data.counters;
  if (refused) return `none: the driver refused, ${refused}`;
  const used = `${names.length} of the driver\u2019s ${offered}`;
  if (!names.length) return used;
  return counted ? `${used}, counted in ${passes} runs of each call alone` : `${used}; too few runs to count them`;
}
function drawOverview() {
  const { step, program } = data;
  find('device').textContent = `${data.device} \u00b7 ${[data.driver, data.driverInfo].filter(Boolean).join(', ')}`;
  find('command').textContent = data.command.join(' ');
  const card = (value, name, small) => el('div', {}, el('b', {}, value, small ? el('small', {}, ` ${small}`) : ''), el('span', {}, name));
  const cards = [];
  const whole = stepOf();
  cards.push(card(whole ? format.time(whole.p50) : 'not measured', step.device ? 'step, median, by the device\u2019s clock'
    : 'step, median, by the host\u2019s clock', whole ? `p95 ${format.time(whole.p95)}` : ''));
  if (known(step.ofPeakFlops)) {
    cards.push(card(format.share(step.ofPeakFlops), 'of the measured peak in fp32'));
    cards.push(card(format.share(step.ofPeakBytes), 'of the measured peak of memory'));
  }
  if (known(step.kernels))
    cards.push(card(format.share(step.kernels + step.copies + step.waits), 'of the step are timed kernels, copies and waits at barriers'));
  if (known(step.cost)) cards.push(card(format.share(step.cost), `cost of measuring, quartiles ${format.share(step.costSpread)} apart`));
  if (data.memory.live.length)
    cards.push(card(format.bytes(data.memory.live[data.memory.peak]), `alive at most, of ${format.bytes(data.memory.arena)} planned`));
  find('overview').append(...cards);

  const parts = [];
  const kernels = known(step.kernels) ? step.kernels : 1;
  if (data.timed)
    ['forward', 'backward', 'optimizer'].forEach((phase, i) => parts.push([phase, phase, step.phases[i] * kernels]));
  if (known(step.kernels)) parts.push(['copies', 'copy', step.copies], ['waits at barriers', 'wait', step.waits],
    ['other gaps', 'gap', Math.max(0, step.gaps - step.waits)]);
  find('parts').append(...parts.map(([, kind, share]) => el('i', { class: kind, style: `width:${100 * share}%` })));
  find('parts-legend').append(...parts.map(([name, kind, share]) =>
    el('li', {}, el('i', { class: kind }), `${name} `, el('b', {}, format.share(share)))));
  if (!data.timed) say('parts-note', 'No kernel was timed.');
  else if (data.byHost)
    say('parts-note', 'This device writes no timestamps. Each kernel was timed by the host, alone and with its submission:',
      'the shares are of these times together, and gaps and copies are not known.');
  else
    say('parts-note', step.overlap > 1.005
      ? `Kernels overlap: their times add up to ${format.number(step.overlap)} times the time in which any of them ran.` : '',
      known(step.cost) ? '' : 'Too few runs for a round, which would tell what measuring cost.');
  if (!parts.length) find('parts').hidden = true;

  find('advice-section').hidden = data.advice.length === 0;
  find('advice').append(...data.advice.map((line) => el('li', {}, line)));

  const [plan, compile, allocate, record] = program.making;
  const { memory } = data;
  const facts = [
    ['program', `${program.name}, ${program.number} of ${program.of}${program.trains ? ', trains' : ''}`],
    ['runs', `${program.runs}, ${program.rounds} rounds of measuring`],
    ['calls of kernels', data.calls.length],
    ['device', `${data.device}, ${data.kind}, subgroups of ${data.subgroup}`],
    ['driver', [data.driver, data.driverInfo].filter(Boolean).join(', ')],
    ['timestamps', known(data.timestampPeriod)
      ? `${data.timestampBits} bits, ${format.number(data.timestampPeriod)} ns each` : 'none: this device writes none'],
    ['peaks, measured beside the program', data.peaks
      ? `${format.count(data.peaks.flops, 'FLOP/s')} in fp32, ${format.count(data.peaks.bytes, 'B/s')} copied` : 'not measured'],
    ['hardware counters', countersText()],
    ['made in', `plan ${format.time(plan)}, compile ${format.time(compile)}, allocate ${format.time(allocate)}, record ${format.time(record)}`],
    ['the host, a step', step.hostCopy ? `copies feeds in ${format.time(step.hostCopy.p50)}, submits in ${format.time(step.submit.p50)}` : 'not measured'],
    ['copies of the device, a step', step.copiedIn
      ? `in ${format.time(step.copiedIn.p50)}, out ${format.time(step.copiedOut && step.copiedOut.p50)}` : 'not measured'],
    ['barriers', `${step.barriers}, of them ${step.reuseBarriers} for reuse of memory, ${step.needless.length} needless`],
    ['memory', `intermediate ${format.bytes(memory.arena)}, variables ${format.bytes(memory.variables)}, ` +
      `constants ${format.bytes(memory.constants)}, transfers ${format.bytes(memory.transfers)}` +
      (memory.held > 0 ? `; the process held ${format.bytes(memory.held)} of ${format.bytes(memory.heap)}` : '')],
    ['work of a step', `${format.count(step.flops, 'FLOP')}, ${format.bytes(step.bytes)} that must be touched`],
  ];
  find('facts').append(...facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value)))));
  find('footer').textContent = `Stithy ${data.version}, stithy profile`;

  const idle = data.rows.kernel.filter((row) => !(row.flops > 0)).length;
  if (!data.timed) find('roofline').replaceChildren(el('p', { class: 'none' }, 'No kernel was timed: there is nothing to draw.'));
  else
    say('roofline-note', 'A point is a kernel with its constants; its size is its share of the step. Bytes are those that must be',
      'touched at least once; what caches hold may stand above the roof of memory.', data.peaks ? '' : 'No peaks were measured, so there is no roof.',
      idle ? `Kernels without FLOPs stand in the strip on the left, ${data.peaks
        ? 'as far below the roof as their bytes a second are below the peak' : 'the higher, the more bytes a second they move'}.` : '',
      data.byHost ? 'Times are the host\u2019s, with a submission in each: short kernels stand too low.' : '');
  if (!data.timed) find('flame').replaceChildren(el('p', { class: 'none' }, 'No kernel was timed: there is nothing to draw.'));
  if (!data.run) {
    find('timeline').replaceChildren(el('p', { class: 'none' }, 'No run timed all of its kernels: there is nothing to draw.'));
    for (const id of ['zoom-in', 'zoom-out', 'zoom-fit']) find(id).hidden = true;
  } else if (data.run.byHost)
    say('timeline-note', `Run ${data.run.number}: each kernel alone, by the host\u2019s clock, with its submission. This device writes no timestamps,`,
      'so gaps and copies are not known.');
  else {
    const longer = step.device && known(data.run.copiedOut) ? data.run.copiedOut / step.device.p50 - 1 : NaN;
    say('timeline-note', `Run ${data.run.number}, by the device\u2019s clock, every kernel timed${data.run.isolated ? ', each alone' : ''}:`,
      known(longer) ? `${format.share(Math.abs(longer))} ${longer < 0 ? 'shorter' : 'longer'} than the median step.` : '',
      'Ctrl and the wheel zoom, too.');
  }
  drawLargest();
}
function drawLargest() {
  const { live, peak, values } = data.memory;
  const cell = (tag, [text, number]) => el(tag, { class: number ? 'n' : 'w' }, el('span', { title: text }, text));
  const line = (tag, cells) => el('tr', {}, ...cells.map((one) => cell(tag, one)));
  if (!live.length) return;
  say('memory-note', 'Bytes of intermediate results that a later call needs. The plan may be larger: what lives at different times',
    'lies at the same place where it fits.');
  say('largest-title', `The largest at call ${peak + 1}, ${data.calls[peak].op}`);
  const largest = values.filter(({ first, last }) => first <= peak && peak <= last).sort((a, b) => b.bytes - a.bytes).slice(0, 12);
  find('largest').append(
    el('thead', {}, line('th', [['value'], ['layer'], ['bytes', 1], ['of all', 1], ['from call', 1], ['to call', 1]])),
    el('tbody', {}, ...largest.map((value) => line('td', [[value.label], [layerName(value.layer)], [format.bytes(value.bytes), 1],
      [format.share(value.bytes / live[peak]), 1], [value.first < 0 ? 'before' : String(value.first + 1), 1], [String(value.last + 1), 1]]))));
}

// ---- tables
const kColumns = [
  ['op', 'op', (r) => r.op || 'several'], ['phase', 'phase', (r) => r.phase || 'several'],
  ['layer', 'layer', (r) => r.layer], ['kernel', 'kernel', (r) => r.kernel || 'several'],
  ['variant', 'variant', (r) => r.variant], ['dtype', 'dtype', (r) => r.dtype],
  ['shapes', 'shapes', (r) => r.shapes], ['calls', 'calls', (r) => r.calls.length],
  ['time', 'p50', (r) => format.time(r.time)], ['p95', 'p95', (r) => format.time(r.p95)],
  ['isolated', 'alone', (r) => format.time(r.isolated)], ['share', '% step', (r) => format.share(r.share)],
  ['gflops', 'GFLOP/s', (r) => (r.flops > 0 ? format.number(r.gflops) : kNone)],
  ['gbs', 'GB/s', (r) => format.number(r.gbs)], ['intensity', 'FLOP/B', (r) => format.number(r.intensity)],
  ['bound', 'bound', (r) => r.bound || kNone], ['roof', '% roof', (r) => format.share(r.roof)],
];
const kShown = {
  op: 'op phase share time p95 isolated calls kernel gflops gbs intensity bound roof',
  layer: 'layer share time p95 isolated calls gflops gbs intensity bound roof',
  kernel: 'kernel share time p95 isolated calls phase variant gflops gbs intensity bound roof',
  call: 'number op phase share time p95 isolated layer kernel dtype shapes gflops gbs intensity bound roof',
};
// As many of the driver's own as find room; all of them stand with the kernels.
const counters = data.counters && data.counters.counted ? data.counters.names : [];
counters.slice(0, 3).forEach(({ name }, i) => {
  kColumns.push([`counter${i}`, name, (row) => format.count(row.counters[i], '')]);
  for (const view of Object.keys(kShown)) kShown[view] += ` counter${i}`;
});
const kWords = ['op', 'phase', 'layer', 'kernel', 'variant', 'dtype', 'shapes', 'bound'];
const kFirstRows = 40;
let view = 'op', order = ['share', -1], all = false;

function sortValue(row, column) {
  if (column === 'calls') return row.calls.length;
  if (column === 'number') return row.calls[0];
  if (column.startsWith('counter')) return row.counters[Number(column.slice(7))];
  return row[column];
}
function tableRows() {
  const words = find('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = data.rows[view].filter((row) => {
    const text = kWords.map((column) => row[column]).join(' ').toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const [column, sign] = order;
  const value = (row) => sortValue(row, column);
  // What was not measured stands last, whatever the direction.
  return rows.sort((a, b) => {
    const x = value(a), y = value(b);
    if (!known(x) && typeof x !== 'string') return known(y) || typeof y === 'string' ? 1 : 0;
    if (!known(y) && typeof y !== 'string') return -1;
    return sign * (typeof x === 'string' ? x.localeCompare(y) : x - y);
  });
}
function drawTable() {
  const shown = kShown[view].split(' ');
  const columns = shown.map((id) => kColumns.find(([name]) => name === id) ||
    ['number', '#', (row) => row.calls[0] + 1]);
  const head = columns.map(([id, title]) => {
    const number = !kWords.includes(id);
    const sorted = order[0] === id;
    const button = el('button', { type: 'button' }, title, sorted ? (order[1] < 0 ? ' \u2193' : ' \u2191') : '');
    button.addEventListener('click', () => {
      order = [id, sorted ? -order[1] : number && id !== 'number' ? -1 : 1];
      drawTable();
    });
    return el('th', { class: number ? 'n' : null, 'aria-sort': sorted ? (order[1] < 0 ? 'descending' : 'ascending') : null,
      scope: 'col' }, button);
  });
  const rows = tableRows();
  const most = Math.max(...rows.map((row) => row.share || 0), 1e-9);
  const cell = (row, [id, , text]) => {
    const number = !kWords.includes(id);
    const node = el('td', { class: number ? 'n' : `w ${id}` }, number ? text(row) : el('span', { title: text(row) }, text(row)));
    if (id === 'share' && known(row.share))
      node.style.background = `linear-gradient(90deg,var(--bar) ${(100 * row.share / most).toFixed(1)}%,transparent 0)`;
    if (id === 'phase') node.classList.add('phase', phaseClass(row.phase));
    if (id === 'kernel' && row.kernel) {
      node.replaceChildren(el('a', { href: `#kernel-${data.calls[row.calls[0]].kernel}`, title: row.kernel }, row.kernel));
    }
    return node;
  };
  const visible = all ? rows : rows.slice(0, kFirstRows);
  find('table').replaceChildren(
    el('thead', {}, el('tr', {}, ...head)),
    el('tbody', {}, ...visible.map((row) => el('tr', {}, ...columns.map((column) => cell(row, column))))));
  const more = find('more');
  more.hidden = visible.length === rows.length;
  more.textContent = `show all ${rows.length}`;
  const time = rows.reduce((sum, row) => sum + (row.time || 0), 0);
  const share = rows.reduce((sum, row) => sum + (row.share || 0), 0);
  find('sum').textContent = `${rows.length} of ${data.rows[view].length} rows, ${format.time(data.timed ? time : null)}` +
    ` a step, ${format.share(data.timed ? share : null)} of it`;
  for (const button of find('views').children) button.setAttribute('aria-pressed', button.dataset.view === view);
}
function setUpTable() {
  for (const button of find('views').children)
    button.addEventListener('click', () => {
      view = button.dataset.view;
      all = false;
      order = view === 'call' ? ['number', 1] : ['share', -1];
      drawTable();
    });
  find('filter').addEventListener('input', drawTable);
  find('more').addEventListener('click', () => { all = true; drawTable(); });
  drawTable();
}

// ---- kernels: what is in them is put there when they are opened
const kStatistics = [
  ['registers', 'registers'], ['scalar_registers', 'scalar registers'], ['spills', 'spills'],
  ['shared_bytes', 'shared memory', format.bytes], ['scratch_bytes', 'scratch memory', format.bytes],
  ['code_bytes', 'code', format.bytes], ['instructions', 'instructions'], ['cycles', 'estimated cycles'],
  ['subgroup_size', 'subgroup size'], ['occupancy', 'subgroups at once'], ['most_subgroups', '\u2026 of at most'],
];
function pairTable(title, pairs) {
  return el('div', {}, el('h3', {}, title), el('table', { class: 'plain' }, el('tbody', {},
    ...pairs.map(([name, value]) => el('tr', {}, el('td', {}, name), el('td', { class: 'n' }, String(value)))))));
}
function statisticsOf(kernel) {
  const { statistics } = kernel;
  if (!statistics)
    return [el('div', {}, el('h3', {}, 'Statistics'), el('p', { class: 'none' }, data.tellsStatistics
      ? 'This driver says nothing about this kernel.' : 'This driver does not tell what it made of the kernel.'))];
  const common = kStatistics.filter(([key]) => known(statistics[key]))
    .map(([key, name, text]) => [name, text ? text(statistics[key]) : statistics[key]]);
  return [common.length ? pairTable('In common words', common) : '',
    statistics.mix ? pairTable('Instructions, by kind', Object.entries(statistics.mix)) : '',
    statistics.own.length ? pairTable('In the driver\u2019s words', statistics.own.map(([name, value]) => [name, known(value) ? value : kNone])) : ''];
}
function sourceOf(kernel) {
  const [file, ...includes] = kernel.files;
  const text = (name) => el('pre', { tabindex: 0 }, data.shaders[name]);
  const folded = (title, node) => el('details', {}, el('summary', {}, title), node);
  const parts = [el('h3', {}, file ? `shaders/${file}` : 'Source')];
  if (!file) parts.push(el('p', { class: 'note' }, `This Stithy has no shaders/${kernel.shader}.`));
  if (kernel.another) parts.push(el('p', { class: 'note' }, 'What was measured was built from another version of this file.'));
  if (kernel.fused)
    parts.push(el('p', { class: 'note' }, 'Made while the program was planned; this stands before the shader:'), el('pre', { tabindex: 0 }, kernel.fused));
  if (file) parts.push(text(file));
  return el('div', {}, ...parts, ...includes.map((name) => folded(`shaders/${name}, included`, text(name))));
}
function listingOf(kernel) {
  const parts = kernel.texts.map(({ name, description, text }, i) => {
    const pre = el('pre', { tabindex: 0 }, text);
    const title = description && description !== name ? `${name}: ${description}` : name;
    return el('details', { open: i + 1 === kernel.texts.length }, el('summary', {}, title), pre);
  });
  if (!parts.length) parts.push(el('p', { class: 'none' }, 'This driver gives no ISA.'));
  return el('div', {}, el('h3', {}, 'What the driver made of it'), ...parts);
}
function callsOf(calls) {
  const places = new Map();
  for (const index of calls) {
    const call = data.calls[index], key = `${call.op} \u00b7 ${call.phase} \u00b7 ${layerName(call.layer)} \u00b7 ${call.shapes}`;
    places.set(key, (places.get(key) || 0) + (call.time || 0));
  }
  return [...places].sort((a, b) => b[1] - a[1]).map(([name, time]) => [name, format.time(time > 0 ? time : null)]);
}
function countersOf(calls) {
  const row = counters.length ? data.rows.kernel.find((one) => one.calls.includes(calls[0])) : null;
  if (!row) return '';
  return pairTable('Hardware counters, a step', counters.map(({ name }, i) => [name, format.count(row.counters[i], '')]));
}
function drawKernels() {
  const kernels = data.kernels.map((kernel, index) => ({ kernel, index, time: 0, share: 0, calls: [] })).filter(({ kernel }) => kernel.used);
  const byIndex = new Map(kernels.map((one) => [one.index, one]));
  data.calls.forEach((call, i) => {
    const one = byIndex.get(call.kernel);
    one.calls.push(i);
    one.time += call.time || 0;
    one.share += call.share || 0;
  });
  kernels.sort((a, b) => b.time - a.time || a.index - b.index);
  const elsewhere = kernels.filter(({ calls }) => !calls.length).length;
  say('kernels-note', `${kernels.length - elsewhere} kernels, with their constants, by the time of their calls in a step`,
    elsewhere ? `; then ${elsewhere} as compilers of other GPUs make them.` : '.');
  for (const { kernel, index, time, share, calls } of kernels) {
    const constants = kernel.constants.map(([name, value]) => `${name}=${value}`).join(' ');
    const details = el('details', { class: 'page', id: `kernel-${index}` }, el('summary', {},
      el('span', {}, el('b', {}, kernel.name), el('small', {}, constants)),
      el('span', { class: 'n' }, format.time(time > 0 ? time : null)),
      el('span', { class: 'n' }, format.share(time > 0 ? share : null))));
    details.addEventListener('toggle', () => {
      if (!details.open || details.children.length > 1) return;
      details.append(el('div', { class: 'inside' },
        el('div', { class: 'columns' },
          pairTable('Kernel', [['defines', kernel.defines || kNone], ['SPIR-V', kernel.hash],
            ...kernel.constants.map(([name, value]) => [name, value])]),
          ...statisticsOf(kernel), countersOf(calls)),
        calls.length ? pairTable(calls.length === 1 ? 'Its call' : `Its ${calls.length} calls`, callsOf(calls)) : '',
        el('div', { class: `code ${kernel.texts.length ? 'beside' : ''}` },
          ...(kernel.texts.length ? [sourceOf(kernel), listingOf(kernel)] : [listingOf(kernel), sourceOf(kernel)]))));
    });
    find('kernels').append(details);
  }
  const follow = () => {
    const target = location.hash.startsWith('#kernel-') ? find(location.hash.slice(1)) : null;
    if (!target || target.tagName !== 'DETAILS') return;
    target.open = true;
    target.scrollIntoView();
  };
  window.addEventListener('hashchange', follow);
  // A link to where one is already changes nothing, so no event comes.
  document.addEventListener('click', (event) => {
    if (event.target.tagName === 'A' && event.target.getAttribute('href') === location.hash) follow();
  });
  follow();
}
