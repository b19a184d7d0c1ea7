"""The words that the stream `forms` is made of: what is asked about, and how."""
