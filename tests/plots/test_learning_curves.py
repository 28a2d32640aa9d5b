import numpy as np
import pandas as pd
import pytest

from ppl_vae.errors import DataError
from ppl_vae.plots import plot_learning_curves

TERMS = ("elbo", "log_likelihood", "kl")


def history(splits, epochs=20):
    rng = np.random.default_rng(0)
    columns = {"epoch": np.arange(1, epochs + 1), "step": np.arange(1, epochs + 1) * 10}
    columns |= {"loss": rng.normal(size=epochs), "seconds": np.ones(epochs)}
    columns |= {f"{split}_{term}": rng.normal(size=epochs) for split in splits for term in TERMS}
    return pd.DataFrame(columns)


@pytest.mark.slow
@pytest.mark.parametrize("splits", [("train",), ("train", "validation"), ("train", "validation", "test")])
def test_draws_every_column_of_the_history(splits):
    table = history(splits)
    figure = plot_learning_curves(table)
    assert len(figure.axes) == 4
    for axes, term in zip(figure.axes, TERMS, strict=False):
        assert [line.get_label() for line in axes.get_lines()] == list(splits)
        for line, split in zip(axes.get_lines(), splits, strict=True):
            assert np.array_equal(line.get_xdata(), table["epoch"])
            assert np.array_equal(line.get_ydata(), table[f"{split}_{term}"])
    (loss,) = figure.axes[3].get_lines()
    assert np.array_equal(loss.get_ydata(), table["loss"])


def test_says_what_is_drawn():
    figure = plot_learning_curves(history(("train", "test")))
    for axes, word in zip(figure.axes, ("ELBO", "log likelihood", "KL", "objective"), strict=True):
        assert axes.get_title(loc="left").startswith(word)
    assert figure.axes[0].get_ylabel() == "nats per datum"
    assert figure.axes[2].get_xlabel() == "epoch"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["train", "test"]


@pytest.mark.slow
def test_one_split_has_one_look_in_all_panels():
    figure = plot_learning_curves(history(("train", "validation", "test")))
    panels = [axes.get_lines() for axes in figure.axes[:3]]
    colours = [[line.get_color() for line in lines] for lines in panels]
    dashes = [[line.get_linestyle() for line in lines] for lines in panels]
    for looks in (colours, dashes):
        assert looks[0] == looks[1] == looks[2]
        assert len(set(looks[0])) == 3


def test_marks_the_best_epoch():
    figure = plot_learning_curves(history(("train",)), best_epoch=7)
    for axes in figure.axes:
        assert list(axes.get_lines()[-1].get_xdata()) == [7, 7]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "best epoch (7)"]


def test_bridges_epochs_without_an_evaluation():
    table = history(("train", "validation"))
    table.loc[table["epoch"] % 5 != 0, "validation_elbo"] = np.nan
    line = plot_learning_curves(table).axes[0].get_lines()[1]
    assert list(line.get_xdata()) == [5, 10, 15, 20]
    assert line.get_marker() == "o"  # few points are marked, so that a single one is seen


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2, 7, 300])
def test_epoch_ticks_are_whole_numbers(epochs):
    figure = plot_learning_curves(history(("train",), epochs))
    figure.draw_without_rendering()
    ticks = [tick for tick in figure.axes[3].get_xticks() if 1 <= tick <= epochs]
    assert ticks
    assert all(tick == int(tick) for tick in ticks)


def test_refuses_other_tables():
    table = history(("train",))
    with pytest.raises(DataError, match=r"expected a row per epoch.*found 20 rows with columns epoch, step, loss"):
        plot_learning_curves(table.drop(columns="train_kl"))
    with pytest.raises(DataError, match="found 0 rows"):
        plot_learning_curves(table.iloc[:0])
    with pytest.raises(DataError, match="best_epoch: expected an epoch of the history, found 21"):
        plot_learning_curves(table, best_epoch=21)
