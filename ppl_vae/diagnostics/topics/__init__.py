"""The topics of a diagnosis: one row each, from which ``diagnose``, the report and the guide are made."""

from ppl_vae.diagnostics.topics.case import FULL, QUICK, Case, Effort
from ppl_vae.diagnostics.topics.table import TOPICS
from ppl_vae.diagnostics.topics.topic import Explanation, Table, Topic

__all__ = ["FULL", "QUICK", "TOPICS", "Case", "Effort", "Explanation", "Table", "Topic"]
