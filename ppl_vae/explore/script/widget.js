// A view inside a cell of a notebook: the selection goes to the kernel and comes back, and so do decoded points.
function load(model) {
  const version = model.get("version")
  const known = window.Bokeh?.version === version ? window.Bokeh : window.Bokeh?.[version]
  if (known !== undefined) return known
  const script = document.createElement("script")
  script.textContent = model.get("bokehjs")
  document.head.appendChild(script)
  script.remove()
  return window.Bokeh.version === version ? window.Bokeh : window.Bokeh[version]
}

const same = (a, b) => a.length === b.length && a.every((value, k) => value === b[k])

function share_selection(model, points) {
  const indices = points.selected.properties.indices
  const to_kernel = () => {
    if (same(points.selected.indices, model.get("indices"))) return
    model.set("indices", Array.from(points.selected.indices))
    model.save_changes()
  }
  const from_kernel = () => {
    if (!same(points.selected.indices, model.get("indices"))) points.selected.indices = model.get("indices")
  }
  indices.change.connect(to_kernel)
  model.on("change:indices", from_kernel)
  from_kernel()
}

function ask_kernel(model, asked, answered) {
  // One question at a time: the newest waits until the last is answered.
  let waiting = null
  let busy = false
  const send = () => {
    if (busy || waiting === null) return
    busy = true
    model.send({kind: "decode", ...waiting})
    waiting = null
  }
  asked.properties.data.change.connect(() => {
    waiting = {x: asked.data.x[0], y: asked.data.y[0]}
    send()
  })
  model.on("msg:custom", (message, buffers) => {
    if (message.kind !== "decoded") return
    const bytes = buffers[0] instanceof DataView ? buffers[0] : new DataView(buffers[0])
    const values = Array.from({length: bytes.byteLength / 4}, (_, k) => bytes.getFloat32(4 * k, true))
    answered.data = {values}
    busy = false
    send()
  })
}

async function render({model, el}) {
  const bokeh = load(model)
  const place = document.createElement("div")
  el.appendChild(place)
  const views = await bokeh.embed.embed_item(JSON.parse(model.get("item")), place)
  const begin = BEGIN
  await begin(views)
  const {document: all} = views.roots.find((view) => view.model.name === "explorable").model
  const named = (name) => all.get_model_by_name(name)
  share_selection(model, named("points"))
  ask_kernel(model, named("asked"), named("answered"))
}

export default {render}
