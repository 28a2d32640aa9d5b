"""Published tables of VAEs: of each, the rows, the paper's figures and its schedule; ``published.py`` runs them."""

from tables.burda_2016 import BURDA_2016
from tables.kingma_2014_ss import KINGMA_2014_SS
from tables.rainforth_2018 import RAINFORTH_2018
from tables.sonderby_2016 import SONDERBY_2016
from tables.table import Table
from tables.tomczak_2018 import TOMCZAK_2018
from tables.tucker_2019 import TUCKER_2019

TABLES: dict[str, Table] = {
    table.name: table
    for table in (BURDA_2016, RAINFORTH_2018, TUCKER_2019, SONDERBY_2016, TOMCZAK_2018, KINGMA_2014_SS)
}
