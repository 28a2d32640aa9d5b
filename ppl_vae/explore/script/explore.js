// The behaviour of an explorable view. It draws nothing itself: it moves numbers between Bokeh's models.
// The arguments are those of view.py: models by name, and `facts`, which are plain values.
const count = points.data.x.length
// Pictures of the first data of the table.
const IN_STRIP = 16
const everything = Array.from({length: count}, (_, i) => i)
const columns = facts.columns
// Another version of Bokeh may be on the page before this one.
const bokeh = Bokeh.version === facts.version ? Bokeh : Bokeh[facts.version]
const find = (model) => bokeh.index.find_one(model)
// Words that follow the pointer go past Bokeh's layout, which measures the whole page for each of them.
const say = (model, html) => {
  const place = find(model)?.shadow_el.querySelector(".bk-clearfix")
  if (!place) return void (model.text = html)
  model.setv({text: html}, {silent: true})
  place.innerHTML = html
}
// What needs time is done once the pointer rests.
const waiting = new Map()
const at_rest = (name, action) => {
  clearTimeout(waiting.get(name))
  waiting.set(name, setTimeout(action, 150))
}
// What follows the pointer is done once a frame, for where it is by then.
const due = new Map()
const at_next_frame = (name, action) => {
  if (due.size === 0) requestAnimationFrame(() => {
    const actions = [...due.values()]
    due.clear()
    for (const each of actions) each()
  })
  due.set(name, action)
}
// Where Bokeh writes on a canvas, a text between delimiters would be a formula.
const plain = (text) => String(text).replaceAll("$$", "$ $").replaceAll("\\(", "\\ (").replaceAll("\\[", "\\ [")
const by_title = (title) => columns.find((column) => column.title === title)
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

// ------------------------------------------------------------------------------------------- numbers in words
const value_of = (column, i) => points.data[column.key][i]
const error_of = (column, i) => (column.error ? points.data[column.error][i] : NaN)

function written(value, digits = 4) {
  if (Number.isNaN(value)) return "–"
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞"
  return (Number.isInteger(value) ? String(value) : value.toPrecision(digits)).replace("-", "−")
}

function told(column, i) {
  if (!column.number) return value_of(column, i)
  const error = error_of(column, i)
  return written(value_of(column, i)) + (Number.isFinite(error) ? ` ± ${written(error, 2)}` : "")
}

// --------------------------------------------------------------------------- which data are in the table, and how
function conditions(text) {
  return text.split(/\s+and\s+/i).map((part) => part.trim()).filter((part) => part !== "").map((part) => {
    const found = part.match(/^(.*?)\s*(<=|>=|!=|=|<|>)\s*(.*)$/)
    const name = found === null ? "" : found[1].toLowerCase()
    const column = columns.find((each) => [each.title, each.heading].some((t) => t.toLowerCase() === name))
    if (found === null) return holds_words(part.toLowerCase())
    if (column === undefined) return null
    return holds_number(column, found[2], found[3])
  })
}

function holds_words(words) {
  const texts = columns.filter((column) => !column.number)
  return (i) => texts.some((column) => String(value_of(column, i)).toLowerCase().includes(words))
}

function holds_number(column, sign, text) {
  const given = column.number ? Number(text.replace("−", "-")) : text.toLowerCase()
  const compare = {
    "<": (a) => a < given, ">": (a) => a > given, "<=": (a) => a <= given, ">=": (a) => a >= given,
    "=": (a) => a === given, "!=": (a) => a !== given,
  }[sign]
  return (i) => compare(column.number ? value_of(column, i) : String(value_of(column, i)).toLowerCase())
}

function sorted(indices, title, descending) {
  const column = by_title(title)
  if (column === undefined) return indices
  const sign = descending ? -1 : 1
  const last = (value) => (column.number ? Number.isNaN(value) : value === "")
  return [...indices].sort((i, j) => {
    const [a, b] = [value_of(column, i), value_of(column, j)]
    if (last(a) || last(b)) return Number(last(a)) - Number(last(b))
    return a < b ? -sign : a > b ? sign : i - j
  })
}

function fill() {
  const asked = conditions(filter.value_input ?? filter.value)
  const wrong = asked.some((condition) => condition === null)
  const base = points.selected.indices.length > 0 ? points.selected.indices : everything
  const kept = wrong ? base : base.filter((i) => asked.every((holds) => holds(i)))
  const order = sorted(kept, sort_by.value, falling.active)
  const data = {index: order}
  for (const key of facts.keys) data[key] = order.map((i) => points.data[key][i])
  rows.selected.indices = []
  const same_size = rows.data.index.length === order.length
  rows.data = data
  // The table looks at its numbers again only where there are more or fewer.
  if (same_size) find(table)?.updateGrid()
  const what = points.selected.indices.length > 0 ? "selected data" : "data"
  caption.text = wrong
    ? "No column has that name. A condition is such as <code>k-hat &gt; 0.7 and class = 3</code>."
    : `<strong>${order.length}</strong> of ${base.length} ${what} in the table, ${count} on the map`
  show_strip()
}

function in_table() {
  const view = find(table)
  const order = view?.data?.index ?? rows.data.index.map((_, k) => k)
  return Array.from(order, (k) => rows.data.index[k])
}

// A click on a heading of the table sorts it until something else is asked for.
const forget_heading = () => find(table)?.grid.setSortColumns([])

function show_strip() {
  if (sheets.length === 0) return
  load_sheets()
  const shown = in_table().slice(0, IN_STRIP)
  const by = by_title(sort_by.value)
  const each = shown.map((i) => {
    const about = `datum ${points.data.name[i]}${by === undefined ? "" : `, ${by.title} ${told(by, i)}`}`
    const words = by?.number ? written(value_of(by, i), 3) : points.data.name[i]
    return `<button type="button" data-index="${i}" title="${escaped(about)}" aria-label="${escaped(about)}">${picture(sheets[0], i, 48)}<span>${escaped(words)}</span></button>`
  })
  const told_by = by?.number ? `, with their ${escaped(by.title)}` : ""
  say(strip, `<p class="soft">The first data of the table${told_by}; a click shows one.</p><div class="strip">${each.join("")}</div>`)
}

// ----------------------------------------------------------------------------------------- pictures of one datum
const sheets = facts.sheets.map((sheet) => ({...sheet, url: null}))

function as_url(source) {
  const [head, body] = source.split(",")
  const text = atob(body)
  const bytes = new Uint8Array(text.length)
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k)
  return URL.createObjectURL(new Blob([bytes], {type: head.slice(5, head.indexOf(";"))}))
}

function load_sheets() {
  for (const sheet of sheets) {
    if (sheet.url !== null) continue
    const source = sheet.element ? document.getElementById(sheet.element).textContent.trim() : sheet.source
    sheet.url = as_url(source)
    const image = new Image()
    image.src = sheet.url
    image.decode().catch(() => undefined)
  }
}

function picture(sheet, i, size, label = "") {
  const scale = Math.max(size / 84, Math.floor(size / Math.max(sheet.width, sheet.height)))
  const [w, h] = [sheet.width * scale, sheet.height * scale]
  const [left, top] = [(i % sheet.across) * w, Math.floor(i / sheet.across) * h]
  const style = `width:${w}px;height:${h}px;background:url(${sheet.url}) -${left}px -${top}px / ${sheet.across * w}px auto`
  const read = label === "" ? `aria-hidden="true"` : `role="img" aria-label="${label}"`
  return `<div class="tile" ${read} style="${style}"></div>`
}

function tile(sheet, i) {
  const title = escaped(sheet.title)
  return `<figure>${picture(sheet, i, 84, title)}<figcaption>${title}</figcaption></figure>`
}

// The words of a column whose numbers stand for them; undefined of others.
const words_of = (d) => facts.table_rows.words[d]?.length > 0 ? facts.table_rows.words[d] : undefined
const cell = (value, d, digits) => words_of(d)?.[value] === undefined ? written(value, digits) : escaped(words_of(d)[value])

function row_table(i) {
  const {names, titles, values, width} = facts.table_rows
  const head = titles.map((title) => `<th scope="col">${escaped(title)}</th>`).join("")
  const line = (name, d) => {
    const cells = values.map((each) => `<td>${cell(each[i * width + d], d)}</td>`).join("")
    return `<tr><th scope="row">${escaped(name)}</th>${cells}</tr>`
  }
  const more = width > names.length ? `<p>The first ${names.length} of ${width} columns.</p>` : ""
  return `<div class="scroll"><table><thead><tr><th></th>${head}</tr></thead><tbody>${names.map(line).join("")}</tbody></table></div>${more}`
}

// --------------------------------------------------------------------------------------------- the datum in focus
let focused = null

function focus(i) {
  if (i === focused) return
  focused = i
  mark_focus()
  const told_of = posterior_of(i)
  load_sheets()
  const shown = facts.table_rows === null ? `<div class="tiles">${sheets.map((s) => tile(s, i)).join("")}</div>` : row_table(i)
  const facts_of = columns.map((column) => {
    const about = `title="${escaped(column.description)}"`
    return `<dt ${about}>${escaped(column.heading)}</dt><dd>${escaped(told(column, i))}</dd>`
  })
  say(card, `<div class="datum" data-index="${i}"><h3>datum ${escaped(points.data.name[i])}</h3>${shown}<p class="soft way">${told_of}</p></div>`)
  say(numbers, `<dl>${facts_of.join("")}</dl>`)
}

// Its ring, and beside it its name and the number that colours the map.
function mark_focus() {
  if (focused === null) return
  const words = `${points.data.name[focused]}\n${told_of_colour(focused)}`
  ring.data = {x: [points.data.x[focused]], y: [points.data.y[focused]], words: [words]}
}

function told_of_colour(i) {
  const column = by_title(colour_by.value)
  return `${column.heading}: ${told(column, i)}`
}

function posterior_of(i) {
  if (facts.posterior === null) return ""
  const {guide, num_draws, ellipse, reference} = facts.posterior
  const at = (array, n) => Array.from({length: n}, (_, s) => array[2 * (i * n + s)])
  const up = (array, n) => Array.from({length: n}, (_, s) => array[2 * (i * n + s) + 1])
  guide_draws.data = {x: at(guide, num_draws), y: up(guide, num_draws)}
  const own = [0, 1, 2, 3, 4].map((k) => ellipse[5 * i + k])
  const found = reference[String(i)]
  reference_draws.data = found ? {x: found.x, y: found.y} : {x: [], y: []}
  const shapes = [[...own, facts.guide_colour]].concat(found ? [[...found.ellipse, facts.reference_colour]] : [])
  const column = (k) => shapes.map((shape) => shape[k])
  ellipses.data = {x: column(0), y: column(1), width: column(2), height: column(3), angle: column(4), colour: column(5)}
  at_rest("closeup", () => show_closeup(i))
  const about = `<span style="color:${facts.guide_colour}">●</span> draws of the guide, ellipse at two standard deviations`
  const beside = found ? `<span style="color:${facts.reference_colour}">●</span> reference draws ${escaped(found.way)}` : "no reference draws of this datum"
  return `${about}; ${beside}.`
}

function show_closeup(i) {
  if (closeup === null) return
  closeup.title.text = plain(`posterior of datum ${points.data.name[i]}, close up`)
  const own = Object.fromEntries(Object.entries(ellipses.data).map(([key, values]) => [key, values.slice(0, 1)]))
  close_guide.data = guide_draws.data
  close_reference.data = reference_draws.data
  close_ellipse.data = own
}

// ---------------------------------------------------------------------------------------------------- the colours
function mix(t) {
  const palette = facts.palette
  return palette[Math.max(0, Math.min(palette.length - 1, Math.floor(t * palette.length)))]
}

function range_of(values) {
  const known = Array.from(values).filter(Number.isFinite).sort((a, b) => a - b)
  if (known.length === 0) return [0, 1]
  const at = (share) => known[Math.round(share * (known.length - 1))]
  const [low, high] = [at(0.01), at(0.99)]
  return low < high ? [low, high] : [low - 0.5, high + 0.5]
}

function paint() {
  const column = by_title(colour_by.value)
  const hues = column.classes === null ? by_scale(column) : by_class(column)
  bar.visible = column.classes === null
  points.data.colour = hues
  points.change.emit()
  mark_focus()
}

function by_scale(column) {
  const values = points.data[column.key]
  const [low, high] = range_of(values)
  bar.color_mapper.low = low
  bar.color_mapper.high = high
  bar.title = plain(column.heading)
  legend.text = `<p class="soft">${escaped(column.description)} The scale ends at the 1 % and 99 % quantiles; grey has no value.</p>`
  const hue = (v) => (Number.isNaN(v) ? facts.no_value : mix((Math.min(Math.max(v, low), high) - low) / (high - low)))
  return Array.from(values, hue)
}

function median(numbers) {
  const known = numbers.filter((v) => !Number.isNaN(v)).sort((a, b) => a - b)
  const half = known.length / 2
  if (known.length === 0) return NaN
  return known.length % 2 ? known[Math.floor(half)] : known[half - 1] === known[half] ? known[half] : (known[half - 1] + known[half]) / 2
}

function by_class(column) {
  const values = points.data[column.key]
  const hue = new Map(column.classes.map((name, k) => [name, facts.classes[k]]))
  legend.text = class_table(column)
  return Array.from(values, (v) => hue.get(String(v)) ?? facts.no_value)
}

// Every class with the numbers by which the data are sorted at first; where a limit says what is bad, the worst first.
function class_table(column) {
  const judge = by_title(facts.sort_by)
  const number = judge?.number && judge !== column
  const lines = column.classes.map((name, k) => {
    const members = everything.filter((i) => String(points.data[column.key][i]) === name)
    const known = number ? members.map((i) => value_of(judge, i)).filter((v) => !Number.isNaN(v)) : []
    const largest = known.length > 0 ? Math.max(...known) : NaN
    return {name, k, size: members.length, median: median(known), bad: known.filter((v) => v > facts.limit).length, largest}
  })
  const judged = number && facts.limit !== null
  if (judged) lines.sort((a, b) => (Number.isNaN(a.median) ? 1 : Number.isNaN(b.median) ? -1 : b.median - a.median))
  const heads = [column.heading, "data", ...(number ? [`median ${judge.title}`] : []), ...(judged ? [`above ${written(facts.limit, 2)}`] : []), ...(number ? [`largest ${judge.title}`] : [])]
  const line = (c) => {
    const cells = [c.size, ...(number ? [written(c.median, 3)] : []), ...(judged ? [c.bad] : []), ...(number ? [written(c.largest, 3)] : [])]
    const button = `<button type="button"><span class="swatch" style="background:${facts.classes[c.k]}"></span>${escaped(c.name)}</button>`
    return `<tr data-class="${c.k}"><th scope="row">${button}</th>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`
  }
  const words = judged ? `The worst class, by its median ${escaped(judge.title)}, stands first. ` : ""
  return `<p class="soft">${words}A click on a class selects its data.</p><div class="scroll"><table class="classes"><thead><tr>${heads.map((head) => `<th scope="col">${escaped(head)}</th>`).join("")}</tr></thead><tbody>${lines.map(line).join("")}</tbody></table></div>`
}

function select_class(k) {
  const column = by_title(colour_by.value)
  const values = points.data[column.key]
  points.selected.indices = everything.filter((i) => String(values[i]) === column.classes[k])
}

// ------------------------------------------------------------------------------------- decoding under the pointer
function decoded_at(x, y) {
  const {low, high, size, length, values} = facts.plane
  const place = (v, d) => Math.min(Math.max(((v - low[d]) / (high[d] - low[d])) * (size - 1), 0), size - 1)
  const [u, v] = [place(x, 0), place(y, 1)]
  const [i, j] = [Math.min(Math.floor(v), size - 2), Math.min(Math.floor(u), size - 2)]
  const [a, b] = [v - i, u - j]
  const from = (r, c) => (r * size + c) * length
  const corners = [[from(i, j), (1 - a) * (1 - b)], [from(i, j + 1), (1 - a) * b], [from(i + 1, j), a * (1 - b)], [from(i + 1, j + 1), a * b]]
  // Between two words stands none: the nearest corner has its own.
  const nearest = corners.reduce((best, each) => each[1] > best[1] ? each : best)[0]
  const between = (n) => corners.reduce((sum, [at, weight]) => sum + weight * values[at + n], 0)
  const worded = (n) => facts.plane.names !== null && words_of(n) !== undefined
  return Float32Array.from({length}, (_, n) => worded(n) ? values[nearest + n] : between(n))
}

function show_decoded(values) {
  if (facts.plane.names !== null) {
    const cells = facts.plane.names.map((name, d) => `<tr><th scope="row">${escaped(name)}</th><td>${cell(values[d], d, 3)}</td></tr>`)
    say(decoded_row, `<div class="scroll"><table><tbody>${cells.join("")}</tbody></table></div>`)
    return
  }
  const [height, width, channels] = facts.plane.shape
  const pixels = new Uint32Array(height * width)
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      const at = (r * width + c) * channels
      const [red, green, blue] = channels === 3 ? [values[at], values[at + 1], values[at + 2]] : [values[at], values[at], values[at]]
      pixels[(height - 1 - r) * width + c] = ((255 << 24) | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red)) >>> 0
    }
  }
  decoded.data.image[0].set(pixels)
  decoded.change.emit()
}

function decode_at(x, y) {
  if (facts.plane === null) return
  if (asked.tags.includes("live")) asked.data = {x: [x], y: [y]}
  else show_decoded(decoded_at(x, y))
}

// --------------------------------------------------------------------------------------------- groups, files, keys
function show_group(group) {
  colour_by.value = by_title(group.sort_by) === undefined ? colour_by.value : group.sort_by
  sort_by.value = by_title(group.sort_by) === undefined ? sort_by.value : group.sort_by
  falling.active = true
  forget_heading()
  points.selected.indices = Array.from(group.indices)
  group_words.text = `<p><strong>${escaped(group.title)}</strong>: ${escaped(group.words)}</p>`
}

function save(blob, name) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10000)
}

const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

function as_csv() {
  const head = columns.flatMap((c) => (c.error ? [c.heading, `${c.title} stderr`] : [c.heading]))
  const line = (i) => columns.flatMap((c) => (c.error ? [value_of(c, i), error_of(c, i)] : [value_of(c, i)]))
  const lines = [["datum", ...head], ...in_table().map((i) => [points.data.name[i], ...line(i)])]
  return lines.map((cells) => cells.map((cell) => quoted(String(cell))).join(",")).join("\n") + "\n"
}

function step(by) {
  const order = in_table()
  if (order.length === 0) return
  const at = order.indexOf(focused)
  focus(order[at < 0 ? 0 : Math.min(Math.max(at + by, 0), order.length - 1)])
}

function on_key(event) {
  const move = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -count, End: count}[event.key]
  if (move !== undefined) step(move)
  else if (event.key === "Escape") points.selected.indices = []
  else if (event.key === "Enter" && focused !== null) points.selected.indices = toggled(focused)
  else return
  event.preventDefault()
}

function toggled(i) {
  const now = new Set(points.selected.indices)
  if (!now.delete(i)) now.add(i)
  return [...now].sort((a, b) => a - b)
}

// ------------------------------------------------------------------------------------------------- light and dark
function is_dark() {
  const lab = document.body.dataset.jpThemeLight
  return lab === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : lab === "false"
}

function dress() {
  const look = is_dark() ? facts.dark : facts.light
  for (const [name, colour] of Object.entries(look.variables)) find(root).el.style.setProperty(name, colour)
  find(root).el.style.colorScheme = is_dark() ? "dark" : "light"
  for (const plot of [map, closeup, decoded_plot].filter((each) => each !== null)) {
    plot.setv({background_fill_color: look.paper, outline_line_color: null})
    if (plot.title !== null) plot.title.text_color = look.ink
    for (const axis of [...plot.below, ...plot.left].filter((each) => "axis_label_text_color" in each)) {
      axis.setv({axis_label_text_color: look.ink, major_label_text_color: look.ink, axis_line_color: look.line, major_tick_line_color: look.line, minor_tick_line_color: null})
    }
    for (const grid of plot.center.filter((each) => "grid_line_color" in each)) grid.grid_line_color = look.grid
  }
  bar.setv({background_fill_color: look.paper, major_label_text_color: look.ink, title_text_color: look.ink})
  ring_glyph.line_color = look.ink
  tag.setv({text_color: look.ink, background_fill_color: look.ground})
  // Dark classes are seen on dark paper by their edge.
  mark.setv({line_color: look.line, line_width: 0.75})
}

// ------------------------------------------------------------------------------------------------------ beginnings
const listen = (model, property, action) => model.properties[property].change.connect(action)

function after_selection() {
  fill()
  const indices = points.selected.indices
  const [first] = in_table()
  if (indices.length === 1) focus(indices[0])
  else if (indices.length > 1 && first !== undefined) focus(first)
}

listen(points.selected, "indices", after_selection)
listen(rows.selected, "indices", () => {
  const [k] = rows.selected.indices
  if (k !== undefined) focus(rows.data.index[k])
})
// Of points that lie on each other, that whose middle the pointer is nearest to.
function nearest(indices, {sx, sy}) {
  if (indices.length < 2) return indices[0]
  const {x_scale, y_scale} = find(map).frame
  const off = (i) => Math.hypot(x_scale.compute(points.data.x[i]) - sx, y_scale.compute(points.data.y[i]) - sy)
  return indices.reduce((best, i) => (off(i) < off(best) ? i : best))
}

// A pointer at rest is told again after every repaint, and is not to undo what the keys did.
let pointed
points.inspect.connect(([, {geometry}]) => {
  const i = nearest(points.inspected.indices, geometry)
  if (i === pointed) return
  pointed = i
  if (i !== undefined) at_next_frame("focus", () => focus(i))
})
listen(answered, "data", () => show_decoded(answered.data.values))
listen(colour_by, "value", paint)
listen(sort_by, "value", () => { forget_heading(); fill() })
listen(falling, "active", () => { forget_heading(); fill() })
find(table).grid.onSort.subscribe(() => at_next_frame("strip", show_strip))
listen(filter, "value_input", fill)
map.on_event("mousemove", ({x, y}) => at_next_frame("decode", () => decode_at(x, y)))
groups.forEach((button, k) => button.on_event("button_click", () => show_group(facts.groups[k])))
clear.on_event("button_click", () => { points.selected.indices = []; filter.value = ""; filter.value_input = ""; group_words.text = "" })
csv.on_event("button_click", () => save(new Blob([as_csv()], {type: "text/csv"}), "selected-data.csv"))
svg.on_event("button_click", async () => save(await find(map).export("svg").to_blob(), "latent-map.svg"))
find(map).el.addEventListener("keydown", on_key)
find(table).el.addEventListener("keydown", (event) => { if (event.key !== "Enter") on_key(event) })
find(legend).shadow_el.addEventListener("click", (event) => {
  const line = event.target.closest("[data-class]")
  if (line !== null) select_class(Number(line.dataset.class))
})
find(strip).shadow_el.addEventListener("click", (event) => {
  const button = event.target.closest("[data-index]")
  if (button !== null) focus(Number(button.dataset.index))
})
// What lies over the map ends where it ends.
for (const over of map.renderers.filter((each) => each.level === "overlay")) Object.defineProperty(find(over), "needs_clip", {value: true})
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dress)
dress()
paint()
fill()
step(0)
if (facts.plane !== null && focused !== null) show_decoded(decoded_at(points.data.x[focused], points.data.y[focused]))
setTimeout(load_sheets, 500)
