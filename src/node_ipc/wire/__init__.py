"""Messages to bytes and bytes to messages: framing, JSON as Node reads and writes it, names, text encodings."""
