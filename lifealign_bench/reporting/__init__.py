"""Reports: figures as data, drawn into one HTML page and into files for a paper.

``figure`` says what a figure is; ``runfigures`` and ``setfigures`` make them from runs; ``svg`` and ``paper`` draw
them. ``content`` says what a page is made of, ``document`` makes it HTML, and ``command`` is what
``lifealign-bench report`` does.
"""
