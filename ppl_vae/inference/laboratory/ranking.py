"""A ranking of estimators: a table, one sentence, and the whole of what the numbers say."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ppl_vae.display import rows_card, with_error


@dataclass(frozen=True)
class Ranking:
    """The verdict of ``check_estimators`` on a comparison.

    Attributes:
        table: a row per estimator, those of the plain ELBO first and the cheapest on top: rank, relative cost (the
            geometric mean over groups of parameters of variance x time over the least of them), milliseconds, value
            minus ELBO with its error, and what the estimator is of. Others have no rank: their gradients are of
            other functions.
        sentence: which is the cheapest, as far as the noise of the comparison lets it be told.
        details: the same and all else in words, in one paragraph.
    """

    table: pd.DataFrame
    sentence: str
    details: str

    def __str__(self) -> str:
        return f"{self._written().to_string()}\n{self.sentence}"

    def _repr_html_(self) -> str:
        written = self._written().reset_index()
        return rows_card("estimators by cost", list(written.columns), written.to_numpy().tolist(), self.sentence)

    def _written(self) -> pd.DataFrame:
        """The table as text."""
        rows = self.table
        biases = zip(rows["minus ELBO"], rows["its error"], strict=True)
        return pd.DataFrame(
            {
                "rank": ["" if pd.isna(place) else str(place) for place in rows["rank"]],
                "relative cost": ["" if pd.isna(ratio) else f"{ratio:.3g}" for ratio in rows["relative cost"]],
                "milliseconds": [f"{time:.3g}" for time in rows["milliseconds"]],
                "minus ELBO": [with_error(bias, error) for bias, error in biases],
                "of": rows["of"].tolist(),
            },
            index=rows.index,
        )
