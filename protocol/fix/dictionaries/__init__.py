"""FIX's data dictionaries as text, one file a version, and the tool that makes them."""
