"""Numbers of runs as what people look at: tables, figures, pages, live views, frames of a notebook.

``tables`` makes a :class:`~lifealign_bench.reporting.tables.grid.Grid` of everything and writes it in every form;
``figures`` says what is drawn (``charts``: how), and draws it for a page and for a paper (``drawn``); ``page`` makes
the report of both; ``live`` is what is shown while runs run; ``notebook`` is the Python interface; ``made`` keeps the
files that are made from the published records.
"""
