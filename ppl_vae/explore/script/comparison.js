// Light and dark, and files, of a page that compares. The arguments are those of comparison.py.
const find = (model) => Bokeh.index.find_one(model)
const dark = matchMedia("(prefers-color-scheme: dark)")

function dress() {
  const look = dark.matches ? themes.dark : themes.light
  for (const [name, colour] of Object.entries(look.variables)) find(root).el.style.setProperty(name, colour)
  find(root).el.style.colorScheme = dark.matches ? "dark" : "light"
  for (const plot of plots) {
    plot.setv({background_fill_color: look.paper, outline_line_color: null})
    for (const axis of [...plot.below, ...plot.left]) {
      axis.setv({axis_label_text_color: look.ink, major_label_text_color: look.ink, axis_line_color: look.line, major_tick_line_color: look.line, minor_tick_line_color: null})
    }
    for (const {glyph, name} of plot.renderers) if (name === "names") glyph.text_color = look.ink
    for (const grid of plot.center.filter((each) => "grid_line_color" in each)) grid.grid_line_color = look.grid
  }
}

function save(blob, name) {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10000)
}

const quoted = (value) => (/[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value))

function as_csv() {
  const keys = columns.flatMap((c) => (c.error ? [c.key, c.error] : [c.key]))
  const head = columns.flatMap((c) => (c.error ? [c.heading, `${c.title} error`] : [c.heading]))
  const lines = Array.from(source.data.name, (name, i) => [name, ...keys.map((key) => source.data[key][i])])
  return [[what, ...head], ...lines].map((cells) => cells.map(quoted).join(",")).join("\n") + "\n"
}

csv.on_event("button_click", () => save(new Blob([as_csv()], {type: "text/csv"}), "compared.csv"))
svg.on_event("button_click", async () => {
  for (const [k, plot] of plots.entries()) save(await find(plot).export("svg").to_blob(), `chart-${k + 1}.svg`)
})
dark.addEventListener("change", dress)
dress()
