"""Content, unpacked layers, writable roots and metadata: all durable state below one private directory."""
