"""What holds other files: one file a format, each unpacked in bounded time and memory."""
