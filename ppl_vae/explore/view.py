"""A scene as Bokeh models: map, card of the datum in focus, decoded plane, table, and what steers them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources

from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    CustomJS,
    InlineStyleSheet,
    Model,
    Row,
    Select,
    TextInput,
    Toggle,
    UIElement,
)

from ppl_vae.explore import look
from ppl_vae.explore.facts import Facts, column_facts, facts_of, source_data
from ppl_vae.explore.figures import closeup, decoded_figure, latent_map
from ppl_vae.explore.scene import Group, Scene
from ppl_vae.explore.table import data_table
from ppl_vae.explore.words import words

TABLE_HEIGHT = 330
Models = dict[str, Model | list[Button] | None]
BESIDE = ("decoded_words", "decoded_plot", "decoded_row", "card", "closeup_words", "closeup", "numbers")
CLOSE_UP = (
    "<p class='soft'>Reference draws in separate places below are separate modes of the posterior where they "
    "passed their checks; where they did not, how much lies in each place is not known.</p>"
)
GROUPS = "<p class='soft'>The data behind each verdict:</p>"
WRAPPED = {"flex-wrap": "wrap", "gap": "8px"}


def explorable(scene: Scene, names: Sequence[str]) -> Column:
    """Build the view.

    Args:
        scene: what it shows.
        names: of the data [N], as a reader knows them.

    Returns:
        One Bokeh layout; its source of data is called "points", and the selection is that source's.
    """
    facts, columns = facts_of(scene), column_facts(scene.columns)
    count = len(scene.points)
    empty = {"colour": [look.NO_VALUE] * count, "name": [str(name) for name in names]}
    points = ColumnDataSource({**source_data(scene), **empty}, name="points")
    shown = ColumnDataSource({key: [] for key in ("index", *_keys(facts))}, name="rows")
    models: Models = {"points": points, "rows": shown}
    models["answered"] = ColumnDataSource({"values": []}, name="answered")
    models |= latent_map(scene, points) | closeup(scene) | decoded_figure(facts) | _controls(scene) | _words()
    models["closeup_words"] = None if scene.posterior is None else words("closeup_words", CLOSE_UP)
    models["table"] = data_table(shown, columns, TABLE_HEIGHT)
    behind = [each for each in scene.groups if len(each.indices)]
    models["groups"] = [_group(k, each) for k, each in enumerate(behind)]
    root = _laid_out(models, scene)
    code = resources.files("ppl_vae.explore").joinpath("script", "explore.js").read_text(encoding="utf-8")
    # Whoever embeds the view runs it once all is drawn (``page.BEGIN``).
    root.tags = [CustomJS(args={**models, "root": root, "facts": facts}, code=code)]
    return root


def _keys(facts: Facts) -> list[str]:
    keys = facts["keys"]
    assert isinstance(keys, list)
    return keys


def _controls(scene: Scene) -> Models:
    titles = [column.title for column in scene.columns]
    sheet = [InlineStyleSheet(css=look.CONTROLS)]
    found: Models = {
        "colour_by": Select(title="Colour by", options=titles, value=scene.colour_by, width=150, stylesheets=sheet),
        "sort_by": Select(title="Sort by", options=titles, value=scene.sort_by, width=150, stylesheets=sheet),
        "falling": Toggle(label="largest first", active=True, width=95, align="end", stylesheets=sheet),
        "filter": TextInput(title="Filter", placeholder="k-hat > 0.7 and class = 3", width=200, stylesheets=sheet),
        "clear": Button(label="Show all", width=80, align="end", stylesheets=sheet),
        "csv": Button(label="Download numbers (CSV)", width=185, align="end", stylesheets=sheet),
        "svg": Button(label="Download map (SVG)", width=155, align="end", stylesheets=sheet),
    }
    for name, model in found.items():
        if isinstance(model, Model):
            model.name = name
    return found


def _words() -> Models:
    return {name: words(name) for name in ("card", "numbers", "legend", "caption", "strip", "group_words")}


def _group(number: int, group: Group) -> Button:
    return Button(
        name=f"group {number}",
        label=f"{group.mark} {group.title}: {len(group.indices)} data",
        width_policy="fit",
        stylesheets=[InlineStyleSheet(css=look.CONTROLS)],
    )


def _laid_out(models: Models, scene: Scene) -> Column:
    def some(*names: str) -> list[UIElement]:
        return [model for name in names if isinstance(model := models[name], UIElement)]

    groups = models["groups"]
    assert isinstance(groups, list)
    notes = words("notes", "".join(f"<p class='soft'>{escape(note)}</p>" for note in scene.notes))
    beside = Column(
        children=some(
            "decoded_words", "decoded_plot", "decoded_row", "card", "closeup_words", "closeup", "numbers"
        ),
        styles={"flex": "1 1 300px", "min-width": "0"},
    )
    of_map = Column(children=some("map", "legend", "strip"), styles={"flex": "3 1 340px", "min-width": "0"})
    parts = [
        *([words("groups", GROUPS), Row(children=list(groups), styles=WRAPPED)] if groups else []),
        *some("group_words"),
        Row(children=some("colour_by", "sort_by", "falling", "filter", "clear", "csv", "svg"), styles=WRAPPED),
        Row(
            children=[of_map, beside], styles={**WRAPPED, "align-items": "flex-start"}, sizing_mode="stretch_width"
        ),
        *some("caption", "table"),
        notes,
    ]
    return Column(
        children=parts, sizing_mode="stretch_width", name="explorable",
        styles={"gap": "8px", "min-width": "0"},
    )  # fmt: skip
