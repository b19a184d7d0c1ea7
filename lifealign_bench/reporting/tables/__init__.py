"""Numbers as tables, and tables as text, CSV, Markdown, HTML and JSON."""
